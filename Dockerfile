# Images out of one file: `web` (no torch), `worker-cpu`, `worker-gpu`, and `flower` to look into the broker.
#     docker build --target web -t tunedeck-web .
# The versions are those of constraints.txt; the workers' set-up is the one that `make` runs. It brings llama.cpp from
# the wheels that a laptop uses too: xllamacpp to load, ask and quantise, and the pinned converter.
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

# The tools that installed it do not stay.
FROM inputs AS web-build
RUN python -m venv .venv \
 && .venv/bin/pip install --no-cache-dir -c constraints.txt hatchling \
 && .venv/bin/pip install --no-cache-dir -c constraints.txt --no-build-isolation -e ".[postgres,s3]" \
 && .venv/bin/pip uninstall --yes --quiet hatchling trove-classifiers pathspec pluggy setuptools pip \
 && rm -rf scripts

FROM inputs AS cpu-build
RUN PIP_NO_CACHE_DIR=1 python scripts/bootstrap.py

# Parts of Unsloth are AGPL: mind that before you hand this image on.
FROM inputs AS gpu-build
RUN PIP_NO_CACHE_DIR=1 python scripts/bootstrap.py --gpu --unsloth

FROM inputs AS flower-build
RUN python -m venv .venv \
 && .venv/bin/pip install --no-cache-dir -c constraints.txt "celery[redis]" flower \
 && .venv/bin/pip uninstall --yes --quiet setuptools pip

FROM base AS web
COPY --from=web-build /opt/tunedeck /opt/tunedeck
COPY app app
COPY templates templates
COPY static static
COPY migrations migrations
COPY samples samples
RUN python -m compileall -q app
USER 10001
EXPOSE 8642
# The start allows for a database that is still being read in.
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --start-interval=1s CMD ["tunedeck", "ready", "web"]
CMD ["tunedeck", "web"]

# libgomp1: llama.cpp's runtime is linked with OpenMP.
FROM base AS worker-base
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/*

FROM worker-base AS worker-cpu
COPY --from=cpu-build /opt/tunedeck /opt/tunedeck
COPY app app
COPY worker worker
COPY migrations migrations
RUN python -m compileall -q app worker
USER 10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --start-interval=2s CMD ["tunedeck", "ready", "gpu"]
CMD ["tunedeck", "worker", "gpu"]

# Triton compiles small launchers when a kernel is first used: it needs a C compiler at run time.
FROM worker-base AS worker-gpu
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
COPY --from=gpu-build /opt/tunedeck /opt/tunedeck
COPY app app
COPY worker worker
COPY migrations migrations
RUN python -m compileall -q app worker
USER 10001
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --start-interval=2s CMD ["tunedeck", "ready", "gpu"]
CMD ["tunedeck", "worker", "gpu"]

FROM base AS flower
COPY --from=flower-build /opt/tunedeck/.venv /opt/tunedeck/.venv
USER 10001
EXPOSE 5555
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --start-interval=2s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:5555/healthcheck', timeout=4)"]
CMD ["celery", "flower", "--address=0.0.0.0", "--port=5555"]
