# A program that uses feynkac, on Debian: the prebuilt addon, no compiler. Build in the program's folder:
#   docker build -f cpu.Dockerfile -t app .
FROM node:22-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts

FROM node:22-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=packages /app/node_modules ./node_modules
COPY . .
USER node
RUN npx --no -- feynkac doctor
CMD ["node", "app.mjs"]
