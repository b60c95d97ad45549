import { readFile } from 'node:fs/promises'

// The client of `openai` makes one object for each part of the API, so no bundler can tell that none of them is
// used: requests are made with the client itself, and answers are read here. These files are replaced by empty classes
// with the same names; half of the bundle goes.
const candidates =
  /node_modules[\\/]openai[\\/](?:(?:resources|lib)[\\/].*|core[\\/](?:streaming|pagination)|auth[\\/]workload-identity-auth)\.mjs$/
// Ways to sign in and bodies that are not used either, but asked about in every request: no, says each function.
const inert =
  /node_modules[\\/]openai[\\/]internal[\\/](?:auth[\\/]x509-workload-identity-auth|uploads)\.mjs$/
// Addresses here have no query but, at the most, a flat one: the language writes that by itself.
const query = /node_modules[\\/]openai[\\/]internal[\\/]qs[\\/]stringify\.mjs$/
const used = /[\\/]openai[\\/]resources[\\/](?:index|shared)\.mjs$/

/**
 * Leaves the parts of `openai` that are not called out of a bundle. Calling one after all is a TypeError; the
 * tests that run the bundle would meet it.
 * @type {import('esbuild').Plugin}
 */
export const leanOpenAI = {
  name: 'lean-openai',
  setup(build) {
    build.onLoad({ filter: candidates }, async ({ path }) => {
      if (used.test(path)) return undefined
      const names = exportedNames(await readFile(path, 'utf8'))
      return { contents: names.map((name) => `export class ${name} {}`).join('\n'), loader: 'js' }
    })
    build.onLoad({ filter: query }, () => ({
      contents: 'export const stringify = (fields) => String(new URLSearchParams(fields))',
      loader: 'js',
    }))
    build.onLoad({ filter: inert }, async ({ path }) => {
      const names = exportedNames(await readFile(path, 'utf8'))
      return { contents: names.map((name) => `export function ${name}() {}`).join('\n'), loader: 'js' }
    })
  },
}

function exportedNames(source) {
  const declared = [...source.matchAll(/^export (?:class|const|function|async function|let) (\w+)/gm)].map(
    ([, name]) => name,
  )
  const listed = [...source.matchAll(/^export \{([^}]*)\}/gm)].flatMap(([, list]) =>
    list.split(',').flatMap(
      (item) =>
        item
          .trim()
          .split(/\s+as\s+/)
          .at(-1) || [],
    ),
  )
  return [...new Set([...declared, ...listed])].filter((name) => name !== 'default')
}
