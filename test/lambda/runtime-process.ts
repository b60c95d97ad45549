import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { RuntimePaths } from './install.ts'

/** A function as it lies on disk, and its configuration. */
export interface FunctionOptions {
  readonly paths: RuntimePaths
  /** The directory that Lambda would unpack at /var/task. */
  readonly taskRoot: string
  /** As in `index.handler`. */
  readonly handler: string
  /** The function's own environment variables. */
  readonly env: Readonly<Record<string, string>>
}

const preload = fileURLToPath(new URL('./preload.cjs', import.meta.url))

/** Starts the real runtime; it asks the Runtime API at `address` (`host:port`) for work. */
export function spawnRuntime(address: string, options: FunctionOptions): ChildProcess {
  const { paths, taskRoot, handler, env } = options
  return spawn(paths.node, ['--require', preload, paths.ric], {
    cwd: taskRoot,
    stdio: ['ignore', 'pipe', 'pipe'],
    // Nothing else of ours: a real function does not see the variables of whoever started it, either.
    env: {
      ...(process.env['PATH'] !== undefined && { PATH: process.env['PATH'] }),
      ...lambdaVariables,
      ...env,
      AWS_LAMBDA_RUNTIME_API: address,
      // Asks for invocations with node:http; see native-stub.cjs.
      AWS_LAMBDA_NODEJS_USE_ALTERNATIVE_CLIENT_1: 'true',
      LAMBDA_TASK_ROOT: taskRoot,
      _HANDLER: handler,
    },
  })
}

/** https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime */
const lambdaVariables = {
  LANG: 'en_US.UTF-8',
  TZ: ':UTC',
  AWS_REGION: 'us-east-1',
  AWS_DEFAULT_REGION: 'us-east-1',
  AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs24.x',
  AWS_LAMBDA_INITIALIZATION_TYPE: 'on-demand',
  // Without these five aws-lambda-ric refuses every invocation (REQUIRED_ENV_VARS in its index.mjs).
  AWS_LAMBDA_FUNCTION_NAME: 'deltarelay',
  AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
  AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '512',
  AWS_LAMBDA_LOG_GROUP_NAME: '/aws/lambda/deltarelay',
  AWS_LAMBDA_LOG_STREAM_NAME: 'local',
}
