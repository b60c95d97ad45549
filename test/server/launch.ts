import { afterAll, beforeAll, onTestFinished } from 'vitest'
import { createLauncher, type Launcher, type LaunchOptions, type ServerProcess } from './process.ts'

/** Builds the server for the tests of a file, or of a `describe`. */
export function createLaunch() {
  let launcher: Launcher
  beforeAll(async () => {
    launcher = await createLauncher()
  })
  afterAll(async () => {
    await launcher.stopAll()
    await launcher.remove()
  })

  /** A server of one test. */
  function launchOnce(environment: Readonly<Record<string, string>>, options?: LaunchOptions): ServerProcess {
    const server = launcher.launch(environment, options)
    onTestFinished(async () => {
      server.child.kill('SIGKILL')
      await server.exited
    })
    return server
  }

  /** One that all tests may ask. */
  const launchShared = (environment: Readonly<Record<string, string>>): ServerProcess =>
    launcher.launch(environment)
  return { launchOnce, launchShared }
}
