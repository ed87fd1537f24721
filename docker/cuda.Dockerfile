# A program that uses feynkac on an NVIDIA GPU: the addon of @feynkac/linux-x64-cuda has the CUDA runtime in it, so a plain image does, and
# the driver comes from the machine. Build in the program's folder, run with the NVIDIA container toolkit (driver 580 or newer):
#   docker build -f cuda.Dockerfile -t app . && docker run --gpus all app
FROM node:22-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --include=optional

FROM node:22-bookworm-slim
ENV NODE_ENV=production
ENV NVIDIA_VISIBLE_DEVICES=all
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /app
COPY --from=packages /app/node_modules ./node_modules
COPY . .
USER node
RUN npx --no -- feynkac doctor
CMD ["node", "app.mjs"]
