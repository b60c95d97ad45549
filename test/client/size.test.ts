import { gzipSync } from 'node:zlib'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('../../', import.meta.url))

test('the client, its parser included, is at most 6 KB for a browser, and needs nothing of Node', async () => {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: ['client/index.ts'],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    write: false,
    metafile: true,
  })
  const packages = Object.keys(metafile.inputs).filter((path) => !path.startsWith('client/'))

  expect(packages).toEqual(['node_modules/eventsource-parser/dist/index.js'])
  expect(gzipSync(outputFiles[0]!.contents).length).toBeLessThanOrEqual(6 * 1024)
})
