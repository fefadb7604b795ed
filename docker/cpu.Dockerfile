# docker build -f docker/cpu.Dockerfile -t mmmagnet:cpu --build-arg UID="$(id -u)" .
# mkdir -p work_dirs && docker run --rm --shm-size 2g -v "$PWD/work_dirs:/mmmagnet/work_dirs" mmmagnet:cpu
# As an image of Enroot or of Slurm (pyxis): enroot import -o mmmagnet-cpu.sqsh dockerd://mmmagnet:cpu; see docs/distributed.md
FROM python:3.11.13-slim-bookworm

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# A user of the host's number can write to mounted folders.
ARG UID=1000
RUN useradd --create-home --non-unique --uid "${UID}" mmmagnet \
    && mkdir -p /mmmagnet /opt/venv \
    && chown mmmagnet /mmmagnet /opt/venv
USER ${UID}
WORKDIR /mmmagnet

ENV MMMAGNET_VENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1
# The build for CPUs is a tenth of that for GPUs.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --chown=mmmagnet requirements.txt docker/constraints.txt ./
RUN python3 -m venv /opt/venv \
    && pip install --index-url "${TORCH_INDEX}" torch==2.13.0 \
    && pip install -c constraints.txt setuptools -r requirements.txt

COPY --chown=mmmagnet . ./
RUN pip install --no-build-isolation --no-deps -e . \
    && mkdir -p data work_dirs pretrained

# Other work: docker run ... mmmagnet:cpu python tools/train.py configs/magnet_tiny_synthetic.py
CMD ["bash", "tools/quickstart.sh"]
