# A program that uses feynkac, on Alpine: the prebuilt addon for musl, no compiler. Build in the program's folder:
#   docker build -f alpine.Dockerfile -t app .
FROM node:22-alpine AS packages
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts

FROM node:22-alpine
ENV NODE_ENV=production
WORKDIR /app
COPY --from=packages /app/node_modules ./node_modules
COPY . .
USER node
RUN npx --no -- feynkac doctor
CMD ["node", "app.mjs"]
