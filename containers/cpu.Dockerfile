# CPU image: docker build -f containers/cpu.Dockerfile -t ocrnet:cpu .
# --build-arg BASE=... takes any Debian or Ubuntu image that has Python 3.10 to 3.12 with venv.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /source
RUN python3 -m venv /opt/ocrnet
COPY locks/demo.txt locks/demo.txt
# MindSpore's wheel contains plugins for GPU and Ascend, 1.8 of its 2.5 GB, that a CPU cannot load
RUN /opt/ocrnet/bin/pip install --no-cache-dir --no-compile --require-hashes -r locks/demo.txt \
    && find /opt/ocrnet/lib -path '*/mindspore/lib/plugin/*' \( -name '*gpu*' -o -name '*ascend*' \) \
        -prune -exec rm -r {} +
COPY pyproject.toml requirements.txt README.md LICENSE train.py eval.py ./
COPY config config
COPY scripts scripts
COPY src src
RUN /opt/ocrnet/bin/pip install --no-cache-dir --no-compile '.[demo]'

FROM ${BASE}
# libgomp: MindSpore's loops in parallel
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 ocrnet
COPY --from=build /opt/ocrnet /opt/ocrnet
ENV PATH=/opt/ocrnet/bin:$PATH PYTHONUNBUFFERED=1
USER 1000
# configs name data/ and runs/ below the folder in which a program starts: mount them here
WORKDIR /home/ocrnet/work
# trains a tiny network for two steps without compiling it
HEALTHCHECK --interval=10m --timeout=2m --start-period=1m \
    CMD ["ocrnet", "doctor", "--device_target", "CPU", "--ms_mode", "1"]
CMD ["ocrnet", "doctor"]
