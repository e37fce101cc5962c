# docker build -t kasoku .                                        for the CPU
# docker build -t kasoku --build-arg TORCH=cu130 .                for a GPU: docker run --gpus all
# docker run --rm -v "$PWD:/work" kasoku optimizer=nesterov scheduler=step
FROM python:3.12-slim-bookworm
ARG TORCH=cpu
WORKDIR /src
# g++ is what torch.compile calls on a CPU. Debian keeps one version of it in a release, and takes old ones away.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY requirements.lock .
RUN pip install --no-cache-dir torch==2.13.0 --index-url "https://download.pytorch.org/whl/${TORCH}" \
    && pip install --no-cache-dir -r requirements.lock
COPY . .
# The number, so that a host that knows no such name still sees that it is not root.
RUN pip install --no-cache-dir --no-deps . && useradd --create-home --uid 1000 kasoku
USER 1000
WORKDIR /work
ENTRYPOINT ["kasoku"]
