// Loaded with `node --require` before aws-lambda-ric, which loads its compiled HTTP client whatever it is told to use
// (`loadNativeClient` in its index.mjs). The package is installed without building that client, so a small
// replacement in JavaScript takes its place.
const Module = require('node:module')
const path = require('node:path')

const stub = path.join(__dirname, 'native-stub.cjs')
const resolveFilename = Module._resolveFilename

Module._resolveFilename = function (request, ...rest) {
  if (path.basename(request) === 'rapid-client.node') return stub
  return resolveFilename.call(this, request, ...rest)
}
