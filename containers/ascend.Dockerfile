# Ascend image: docker build -f containers/ascend.Dockerfile -t ocrnet:ascend .
# CANN's official image (github.com/Ascend/cann-container-image). Its tag names CANN, the chip (910b: Atlas A2; a3; 910:
# the first Ascend 910), the system and Python. MindSpore 2.10 accepts CANN 8.2, 8.3, 8.5, 9.0 and 9.1.
ARG BASE=quay.io/ascend/cann:8.5.1-910b-ubuntu22.04-py3.11
FROM ${BASE}
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /source
COPY locks/demo.txt locks/demo.txt
# CANN's Python packages (hccl, te, tbe) and what they import are in the image's own Python; no virtual environment
RUN python3 -m pip install --no-cache-dir --require-hashes -r locks/demo.txt \
    && python3 -m pip install --no-cache-dir decorator sympy cffi attrs cython pathlib2 absl-py
COPY pyproject.toml requirements.txt README.md LICENSE train.py eval.py ./
COPY config config
COPY scripts scripts
COPY src src
# the driver's group on the host, HwHiAiUser, has the id 1000: the devices belong to it
RUN python3 -m pip install --no-cache-dir --no-deps . \
    && { getent passwd 1000 >/dev/null || useradd --create-home --uid 1000 ocrnet; } \
    && mkdir -p /work && chown 1000:1000 /work
USER 1000:1000
WORKDIR /work
HEALTHCHECK --interval=10m --timeout=5m --start-period=5m \
    CMD ["ocrnet", "doctor", "--device_target", "Ascend", "--ms_mode", "1"]
# the base's entry point sources CANN's set_env.sh
CMD ["ocrnet", "doctor"]
