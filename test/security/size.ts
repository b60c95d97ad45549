/**
 * How large an attack is: small in CI, as large as in the audit with `SECURITY_FULL=1`.
 * Run one attack in full: `SECURITY_FULL=1 npx vitest run test/security/pipelining.test.ts`.
 */
export function size(small: number, large: number): number {
  return process.env['SECURITY_FULL'] === '1' ? large : small
}
