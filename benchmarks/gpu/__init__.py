"""Speed, memory and truth of both engines on a real GPU: `python -m benchmarks.gpu`.

    python -m benchmarks.gpu core --work /scratch --results results.json
    python -m benchmarks.gpu --only 8b-2048-4bit --pairs 5 --work /scratch --results results.json
    python -m benchmarks.gpu table --results results.json

Each run is the product's own trainer, `python -m worker.trainer`, in a process of its own; the engines alternate.
What is in the results file already is not run again, so that a long table can be made in several goes.
"""
