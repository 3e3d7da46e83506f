# seqtrain on a CPU. Build:  docker build -t seqtrain .
# Use, with data and runs in the working folder:
#   docker run --rm -it -v "$PWD:/work" seqtrain seqtrain-train task.data=data/text run_dir=runs/text
# On a GPU machine build with  --build-arg TORCH_INDEX=https://pypi.org/simple
FROM python:3.11-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# torch first and by itself: its layer stays when the project changes.
COPY constraints.txt /src/constraints.txt
RUN pip install --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple \
      -c /src/constraints.txt torch numpy

COPY pyproject.toml README.md LICENSE /src/
COPY config /src/config
COPY seqtrain /src/seqtrain
COPY seqtrain_cli /src/seqtrain_cli
RUN pip install -c /src/constraints.txt "/src[sentencepiece,plot,rich]" && rm -rf /src

# Files that a run writes belong to the user who starts the container with --user.
RUN useradd --create-home seqtrain && mkdir /work && chown seqtrain /work
USER seqtrain
WORKDIR /work
CMD ["seqtrain-info"]
