import { expect, test } from 'vitest'
import { createMemoryStore } from '../../../src/stores/memory.ts'
import { checkModel } from '../../store-model.ts'

test('whatever its users do, the store in memory keeps what every store promises', async () => {
  const open = async () => {
    const store = createMemoryStore()
    return { here: store, there: store, close: async () => {} }
  }

  await expect(checkModel(open, { numRuns: 300, prefix: 'm' })).resolves.toBeUndefined()
})
