# Three images out of one file: `web` (no torch), `worker-cpu`, `worker-gpu`.
#     docker build --target web -t tunedeck-web .
# The set-up inside is the one that `make` runs, so the versions are those of constraints.txt.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim-bookworm AS base
ENV PATH=/opt/tunedeck/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TUNEDECK_DATA_DIR=/data
WORKDIR /opt/tunedeck
RUN useradd --system --uid 10001 --create-home tunedeck \
 && install -d -o tunedeck -g tunedeck /data

# What the environments depend on and nothing more: a change in the code does not install them again.
FROM base AS inputs
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY scripts scripts
RUN mkdir app worker

FROM inputs AS web-build
RUN python -m venv .venv \
 && .venv/bin/pip install --no-cache-dir -c constraints.txt hatchling \
 && .venv/bin/pip install --no-cache-dir -c constraints.txt --no-build-isolation -e ".[postgres,s3]"

FROM inputs AS cpu-build
RUN PIP_NO_CACHE_DIR=1 python scripts/bootstrap.py

# Parts of Unsloth are AGPL: mind that before you hand this image on.
FROM inputs AS gpu-build
RUN PIP_NO_CACHE_DIR=1 python scripts/bootstrap.py --gpu --unsloth

FROM base AS web
COPY --from=web-build /opt/tunedeck /opt/tunedeck
COPY app app
COPY templates templates
COPY static static
COPY migrations migrations
COPY samples samples
RUN python -m compileall -q app
USER tunedeck
EXPOSE 8642
CMD ["tunedeck", "web"]

# libgomp1: llama.cpp's runtime is linked with OpenMP.
FROM base AS worker-base
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/*

FROM worker-base AS worker-cpu
COPY --from=cpu-build /opt/tunedeck /opt/tunedeck
COPY app app
COPY worker worker
COPY migrations migrations
RUN python -m compileall -q app worker
USER tunedeck
CMD ["tunedeck", "worker", "gpu"]

# Triton compiles small launchers when a kernel is first used: it needs a C compiler at run time.
FROM worker-base AS worker-gpu
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
COPY --from=gpu-build /opt/tunedeck /opt/tunedeck
COPY app app
COPY worker worker
COPY migrations migrations
RUN python -m compileall -q app worker
USER tunedeck
CMD ["tunedeck", "worker", "gpu"]
