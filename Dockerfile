# The production server. Built and run like this (see docs/deploy.md; not verified by the project's own tests):
#   docker build -t deltarelay .
#   docker run --rm -p 127.0.0.1:3000:3000 -e OPENAI_API_KEY -e ALLOW_ANONYMOUS=1 -e ALLOWED_HOSTS=localhost,127.0.0.1 deltarelay
# The server has no authentication: ALLOW_ANONYMOUS=1 accepts that, ALLOWED_HOSTS lists the names under which clients reach it.
FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY . .
RUN node build.mjs

# The server is one file; the page lies beside it. Nothing else is needed, no node_modules either.
FROM node:24-slim
ENV NODE_ENV=production HOST=0.0.0.0 PORT=3000
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/dist/server.js ./dist/
COPY --from=build /app/dist/web ./dist/web
USER node
EXPOSE 3000
CMD ["node", "--max-semi-space-size=16", "dist/server.js"]
