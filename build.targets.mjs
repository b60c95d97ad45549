import { leanOpenAI } from './build.openai.mjs'

/** CommonJS packages inside an ES module ask for `require`. */
export const requireBanner = {
  js: "import{createRequire as createRequire_}from'node:module';const require=createRequire_(import.meta.url);",
}

/** @type {import('esbuild').BuildOptions} */
const node = { bundle: true, platform: 'node', format: 'esm', legalComments: 'none', metafile: true }

/**
 * What is built, and how: everything goes below `out`.
 * @type {(out: string) => Record<'server' | 'web' | 'chat' | 'api', import('esbuild').BuildOptions>}
 */
export const targetsIn = (out) => ({
  server: {
    ...node,
    entryPoints: { server: 'handlers/server.ts' },
    outdir: out,
    target: 'node20',
    sourcemap: true,
    banner: requireBanner,
  },
  web: {
    bundle: true,
    entryPoints: [
      { in: 'web/page.ts', out: 'page' },
      { in: 'web/page.css', out: 'page' },
      { in: 'web/index.html', out: 'index' },
    ],
    loader: { '.html': 'copy' },
    outdir: `${out}/web`,
    format: 'esm',
    target: 'es2022',
    minify: true,
    metafile: true,
  },
  chat: {
    ...node,
    entryPoints: { index: 'handlers/lambda.ts' },
    outdir: `${out}/lambda/chat`,
    outExtension: { '.js': '.mjs' },
    target: 'node24',
    minify: true,
    // The Redis client is larger than all the rest, and loaded only where there is a Redis; proxies are as rare.
    splitting: true,
    chunkNames: 'part-[hash]',
    banner: requireBanner,
    plugins: [leanOpenAI],
  },
  api: {
    ...node,
    entryPoints: { index: 'handlers/api.ts' },
    outdir: `${out}/lambda/api`,
    outExtension: { '.js': '.cjs' },
    format: 'cjs',
    target: 'node24',
    minify: true,
    plugins: [leanOpenAI],
  },
})
