// The bytes of p2pai's wire, written from docs/WIRE.md alone. Nothing here knows the Python code.

import { secp256k1 } from '@noble/curves/secp256k1.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, concatBytes, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js'
import * as cborg from 'cborg'

export const GOSSIP_SIZE_MAX = 262144
export const ANSWER_SIZE_MAX = 2097152
export const CHUNK_SIZE_MAX = 1048576
export const BLOB_CHUNKS_MAX = 4096
export const KIND = { ASK: 0, MANIFEST: 1, CHUNK: 2, CLOCK: 3, KNOWN: 4, ANSWER: 16, ABSENT: 17, BUSY: 18 }

const NAMES = ['tx', 'block', 'it_res', 'model', 'message_history', 'consider_pause', 'heartbeat', 'dkg', 'vote', 'candidate']
const TOPIC = new RegExp(`^/p2pai/([0-9a-f]{8})/(chain|[0-9a-f]{64})/(${NAMES.join('|')})/1$`)

export class Refused extends Error {}

function refuseUnless (condition, reason) {
  if (!condition) throw new Refused(reason)
}

function integer (value, size, isLittle) {
  const bytes = new Uint8Array(size)
  let rest = BigInt(value)
  for (let place = 0; place < size; place++) {
    bytes[isLittle ? place : size - 1 - place] = Number(rest & 255n)
    rest >>= 8n
  }
  return bytes
}

export const little = (value, size) => integer(value, size, true)
export const big = (value, size) => integer(value, size, false)
export const equal = (a, b) => bytesToHex(a) === bytesToHex(b)

export function taggedHash (tag, ...parts) {
  const prefix = sha256(utf8ToBytes(tag))
  const framed = parts.flatMap(part => [big(part.length, 8), part])
  return sha256(concatBytes(prefix, prefix, ...framed))
}

// Canonical CBOR

export const encode = value => cborg.encode(value, cborg.rfc8949EncodeOptions)

export function decode (bytes, sizeMax) {
  refuseUnless(bytes.length <= sizeMax, 'too large')
  let value
  try {
    value = cborg.decode(bytes, { strict: true, allowIndefinite: false, rejectDuplicateMapKeys: true, useMaps: false })
  } catch (error) {
    throw new Refused(`malformed CBOR: ${error.message}`)
  }
  refuseUnless(equal(encode(value), bytes), 'not the canonical encoding')
  return value
}

// Envelopes

function signedDigest (sender, topic, sequence, body) {
  return taggedHash('p2pai/envelope', sender, utf8ToBytes(topic), little(sequence, 8), body)
}

const DER = { prehash: false, lowS: true, format: 'der' }

export function seal (secret, topic, sequence, body) {
  const sender = secp256k1.getPublicKey(secret, true)
  const signature = secp256k1.sign(signedDigest(sender, topic, sequence, body), secret, DER)
  return encode([sender, topic, BigInt(sequence), body, signature])
}

export function openEnvelope (bytes, topic) {
  const fields = decode(bytes, GOSSIP_SIZE_MAX)
  refuseUnless(Array.isArray(fields) && fields.length === 5, 'an envelope has 5 fields')
  const [sender, named, sequence, body, signature] = fields
  const areBytes = [sender, body, signature].every(field => field instanceof Uint8Array)
  const isNumber = typeof sequence === 'bigint' || Number.isSafeInteger(sequence)
  refuseUnless(areBytes && typeof named === 'string' && isNumber && sequence >= 0, 'a field of another type')
  refuseUnless(sender.length === 33, 'a key has 33 bytes')
  refuseUnless(named === topic, 'made for another topic')
  let holds = false
  try {
    holds = secp256k1.verify(signature, signedDigest(sender, topic, sequence, body), sender, DER)
  } catch {}
  refuseUnless(holds, 'the signature does not hold')
  return { sender, topic, sequence, body, signature }
}

export function parseTopic (text) {
  const match = TOPIC.exec(text)
  refuseUnless(match !== null, 'not a topic')
  return { chain: match[1], scope: match[2], name: match[3] }
}

// Blobs

export const leafHash = chunk => sha256(concatBytes(Uint8Array.of(0), chunk))

export function merkleRoot (leaves) {
  refuseUnless(leaves.length > 0, 'an empty tree has no root')
  if (leaves.length === 1) return leaves[0]
  let split = 1
  while (split * 2 < leaves.length) split *= 2
  const halves = [merkleRoot(leaves.slice(0, split)), merkleRoot(leaves.slice(split))]
  return sha256(concatBytes(Uint8Array.of(1), ...halves))
}

export function cut (data) {
  const chunks = []
  for (let at = 0; at < data.length; at += CHUNK_SIZE_MAX) chunks.push(data.subarray(at, at + CHUNK_SIZE_MAX))
  return chunks.length > 0 ? chunks : [data]
}

export const blobId = chunks => merkleRoot(chunks.map(leafHash))

export function readManifest (bytes, blob) {
  const count = bytes.length / 32
  refuseUnless(Number.isInteger(count) && count >= 1 && count <= BLOB_CHUNKS_MAX, 'malformed manifest')
  const leaves = Array.from({ length: count }, (_, place) => bytes.subarray(32 * place, 32 * place + 32))
  refuseUnless(equal(merkleRoot(leaves), blob), 'the manifest belongs to another blob')
  return leaves
}

export function checkChunk (chunk, leaf) {
  refuseUnless(chunk.length <= CHUNK_SIZE_MAX && equal(leafHash(chunk), leaf), 'not the chunk that the manifest names')
  return chunk
}

// Frames of the ask protocol

export function frame (request, kind, payload = new Uint8Array()) {
  return concatBytes(little(5 + payload.length, 4), little(request, 4), Uint8Array.of(kind), payload)
}

export class Frames {
  #buffer = new Uint8Array()

  // Takes bytes as they come, returns the frames that are complete.
  push (bytes) {
    this.#buffer = concatBytes(this.#buffer, bytes)
    const frames = []
    while (this.#buffer.length >= 4) {
      const view = new DataView(this.#buffer.buffer, this.#buffer.byteOffset)
      const length = view.getUint32(0, true)
      refuseUnless(length >= 5 && length <= 5 + ANSWER_SIZE_MAX, `a frame of ${length} bytes`)
      if (this.#buffer.length < 4 + length) break
      frames.push({ request: view.getUint32(4, true), kind: this.#buffer[8], payload: this.#buffer.slice(9, 4 + length) })
      this.#buffer = this.#buffer.slice(4 + length)
    }
    return frames
  }
}

// The DHT

// task in hex or 'chain', role perhaps empty; the key holds for the hour of timeMs.
export const meetingKey = (chain, task, role, timeMs) => concatBytes(
  Uint8Array.of(0x12, 0x20),
  taggedHash('p2pai/providers', utf8ToBytes(`${chain}/${task}/${role}/${Math.floor(timeMs / 3600000)}`))
)

// A payment, as docs/SPEC.md has it

const keyHash = key => taggedHash('p2pai/key', key).subarray(0, 20)

export function publishedSecret (chainName, account) {
  const seed = taggedHash('p2pai/dev-account', utf8ToBytes(chainName), big(account, 4))
  return taggedHash('p2pai/secret/spending', seed, big(0, 4))
}

export function transfer ({ chainId, secret, output, value, fee, to }) {
  const key = secp256k1.getPublicKey(secret, true)
  const fields = [1, [output], [['Pay', value - fee, keyHash(to ?? key)]], ['Transfer']]
  const txid = taggedHash('p2pai/txid', encode([...fields, []]))
  const signature = secp256k1.sign(taggedHash('p2pai/sighash', chainId, txid), secret, DER)
  return { txid, bytes: encode([...fields, [[key, signature]]]) }
}

export { bytesToHex, concatBytes, hexToBytes, utf8ToBytes }
