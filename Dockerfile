# A worker, or any other `clearcall` command. The environment is made by the same steps as the Makefile's.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# For the kernels; the image at the end has no compiler.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/clearcall
COPY requirements/runtime.txt requirements/runtime.txt
RUN /opt/clearcall/bin/pip install --quiet --require-hashes --requirement requirements/runtime.txt
COPY pyproject.toml README.md setup.py build_backend.py ./
COPY agents agents
COPY app app
COPY dsp dsp
COPY migrations migrations
COPY schemas schemas
# Compiled here, every module of it: at run time nothing can be written beside them.
RUN /opt/clearcall/bin/pip install --quiet --no-deps --no-build-isolation . \
    && /opt/clearcall/bin/python -m compileall -q /opt/clearcall/lib

FROM ${PYTHON_IMAGE}
RUN groupadd --system --gid 10001 clearcall \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent clearcall \
    && install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/clearcall
COPY --from=build /opt/clearcall /opt/clearcall
ENV PATH=/opt/clearcall/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CLEARCALL_DATA_DIR=/var/lib/clearcall \
    CLEARCALL_LOG_FORMAT=json
USER 10001:10001
WORKDIR /var/lib/clearcall
EXPOSE 6066
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen('http://127.0.0.1:' + os.environ.get('CLEARCALL_WEB_PORT', '6066') + '/livez', timeout=4)"]
ENTRYPOINT ["clearcall"]
CMD ["worker"]
