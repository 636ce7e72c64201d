# One image for both roles: `tenantconfig controller` and `tenantconfig watch-server`.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /app
# Before the sources, so that a change of code does not install everything again.
COPY requirements/operator.txt requirements/build.txt requirements/
RUN /app/bin/pip install --require-hashes --no-deps -r requirements/operator.txt \
 && python -m pip install --require-hashes --no-deps -r requirements/build.txt
COPY pyproject.toml ./
COPY operator operator
COPY crds crds
# The builder's own setuptools makes the wheel, so that the image does without it.
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /app/bin/pip install --no-deps --no-index /wheels/*.whl \
 && /app/bin/pip uninstall --yes pip

FROM python:3.11.14-slim-bookworm
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
ENTRYPOINT ["tenantconfig"]
