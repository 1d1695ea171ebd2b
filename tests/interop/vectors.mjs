// Checks the test vectors of docs/vectors/wire.json against wire.mjs; returns what differs.

import * as wire from './wire.mjs'

const { hexToBytes: bytes, bytesToHex: hex } = wire

function outcome (action) {
  try {
    return action()
  } catch (error) {
    if (error instanceof wire.Refused) return 'refused'
    throw error
  }
}

const checks = {
  tagged_hash: ({ tag, parts }) => hex(wire.taggedHash(tag, ...parts.map(bytes))),
  envelope: ({ secret, topic, sequence, body }) => hex(wire.seal(bytes(secret), topic, BigInt(sequence), bytes(body))),
  envelope_refused: ({ data, topic }) => outcome(() => { wire.openEnvelope(bytes(data), topic); return 'accepted' }),
  topic: ({ text }) => outcome(() => { wire.parseTopic(text); return 'accepted' }),
  content_id: ({ chunks }) => hex(wire.blobId(chunks.map(bytes))),
  content_id_of_zeros: ({ size }) => hex(wire.blobId(wire.cut(new Uint8Array(size)))),
  frame: ({ request, kind, payload }) => hex(wire.frame(request, wire.KIND[kind], bytes(payload))),
  question: ({ name, fields }) => hex(wire.encode([name, ...fields.map(readable)])),
  meeting_key: ({ chain, task, role, time_ms }) => hex(wire.meetingKey(chain, task, role, time_ms))
}

function readable (value) {
  if (Array.isArray(value)) return value.map(readable)
  return typeof value === 'string' ? bytes(value) : value
}

export function checkVectors (vectors) {
  const differing = []
  let checked = 0
  for (const [group, cases] of Object.entries(vectors)) {
    for (const given of cases) {
      const found = checks[group](given)
      checked++
      if (found !== given.gives) differing.push({ group, given, found })
    }
  }
  return { checked, differing }
}
