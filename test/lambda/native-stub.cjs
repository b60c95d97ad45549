// Stands in for the compiled client of aws-lambda-ric (src/native/rapid-client.cc), which carries only what a buffered
// handler returns or throws. `next` is never called with AWS_LAMBDA_NODEJS_USE_ALTERNATIVE_CLIENT_1=true, and a
// streaming handler's answer goes through node:http in the real code, untouched.
const http = require('node:http')

const base = '/2018-06-01/runtime/invocation'
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })

function post(path, body, headers) {
  const [hostname, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':')
  const request = http.request({ agent, hostname, port, path, method: 'POST', headers })
  request.on('response', (response) => response.resume())
  request.on('error', (error) => {
    // The compiled client throws into the runtime, which ends the process; the caller here has returned already.
    console.error(error)
    process.exit(1)
  })
  request.end(body)
}

module.exports = {
  next() {
    throw new Error(
      'Set AWS_LAMBDA_NODEJS_USE_ALTERNATIVE_CLIENT_1=true: this stub cannot ask for invocations.',
    )
  },
  done(id, body) {
    post(`${base}/${id}/response`, body, { 'content-type': 'application/json' })
  },
  error(id, body) {
    const { errorType = 'Unhandled' } = JSON.parse(body)
    post(`${base}/${id}/error`, body, {
      'content-type': 'application/json',
      'lambda-runtime-function-error-type': encodeURIComponent(errorType),
    })
  },
}
