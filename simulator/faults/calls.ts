import { toSteps } from '../exchange.ts'
import type { Reply, SplitCall } from '../reply.ts'
import type { CallPiece, Frame } from '../wire.ts'
import type { Fault } from './fault.ts'

/** Faults in the calls of tools. Each of them calls two tools, invented ones when the request offers none. */
export const callFaults: readonly Fault[] = [
  shape('no-index-tools', 'Pieces of calls without an index.', (piece) => drop(piece, 'index')),
  shape('same-index-tools', 'Two calls with the same index, told apart by their ids only.', (piece) => ({
    ...piece,
    index: 0,
  })),
  shape('index-from-one-tools', 'The first call has index 1.', (piece) => ({
    ...piece,
    index: (piece.index ?? 0) + 1,
  })),
  shape('empty-id-tools', 'Every later piece repeats an empty id and name.', (piece) =>
    piece.id === undefined ? { ...piece, id: '', function: { name: '', ...piece.function } } : piece,
  ),
  shape('no-id-tools', 'Calls never get an id.', (piece) => drop(piece, 'id')),
  {
    name: 'late-id-tools',
    about: 'The id of a call comes with its last piece.',
    needs: 'calls',
    streamOnly: true,
    api: 'chat',
    play: (exchange) => {
      const last = new Map<number, number>()
      exchange.frames.forEach((frame, at) => piecesOf(frame).forEach(({ index }) => last.set(index ?? 0, at)))
      const frames = exchange.frames.map((frame, at) =>
        mapPieces(frame, (whole) => {
          const piece = drop(whole, 'id')
          const index = piece.index ?? 0
          const id = exchange.reply.calls[index]?.id
          return last.get(index) === at && id !== undefined ? { ...piece, id } : piece
        }),
      )
      return toSteps(exchange, frames)
    },
  },
  {
    name: 'whole-tools',
    about: 'Every call arrives in one piece.',
    needs: 'calls',
    alter: (reply) => changeCalls(reply, (call) => ({ ...call, arguments: [call.arguments.join('')] })),
  },
  {
    name: 'truncated-arguments',
    about: 'The arguments of the last call end in the middle of their JSON.',
    params: { finish: 'tool_calls' },
    needs: 'calls',
    alter: (reply, { finish }) => ({
      ...changeCalls(reply, (call, isLast) => {
        return isLast
          ? { ...call, arguments: call.arguments.slice(0, Math.ceil(call.arguments.length / 2)) }
          : call
      }),
      finish,
    }),
  },
  {
    name: 'wrong-arguments',
    about: 'The arguments are JSON, but not what the schema asks for.',
    needs: 'calls',
    alter: (reply) => changeCalls(reply, (call) => ({ ...call, arguments: ['{"unexpected":', 'true}'] })),
  },
  {
    name: 'unknown-tool',
    about: 'Calls a tool nobody offered.',
    needs: 'calls',
    alter: (reply) => changeCalls(reply, (call) => ({ ...call, name: `no_such_${call.name}` })),
  },
  {
    name: 'tool-loop',
    about: 'Calls the tools again and again, whatever they answer.',
    needs: 'calls',
  },
  {
    name: 'tools-finish-stop',
    about: 'Calls tools, yet says finish_reason "stop".',
    needs: 'calls',
    alter: (reply) => ({ ...reply, finish: 'stop' }),
  },
]

function shape(name: string, about: string, change: (piece: CallPiece) => CallPiece): Fault {
  return {
    name,
    about,
    needs: 'calls',
    streamOnly: true,
    api: 'chat',
    play: (exchange) =>
      toSteps(
        exchange,
        exchange.frames.map((frame) => mapPieces(frame, change)),
      ),
  }
}

function drop(piece: CallPiece, name: 'index' | 'id'): CallPiece {
  const copy: { -readonly [Key in keyof CallPiece]: CallPiece[Key] } = { ...piece }
  delete copy[name]
  return copy
}

function piecesOf(frame: Frame): readonly CallPiece[] {
  return 'chunk' in frame ? (frame.chunk.choices[0]?.delta.tool_calls ?? []) : []
}

function mapPieces(frame: Frame, change: (piece: CallPiece) => CallPiece): Frame {
  if (!('chunk' in frame) || piecesOf(frame).length === 0) return frame
  const choices = frame.chunk.choices.map((choice) => ({
    ...choice,
    delta: { ...choice.delta, tool_calls: piecesOf(frame).map(change) },
  }))
  return { ...frame, chunk: { ...frame.chunk, choices } }
}

function changeCalls(reply: Reply, change: (call: SplitCall, isLast: boolean) => SplitCall): Reply {
  return { ...reply, calls: reply.calls.map((call, at) => change(call, at === reply.calls.length - 1)) }
}
