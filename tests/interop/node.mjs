// A node of p2pai's network in JavaScript, told what to do by JSON lines on stdin and answering by JSON lines on
// stdout: {"id": 1, "do": "join", "topic": "..."} gives {"id": 1, "result": ...} or {"id": 1, "error": "..."}.

import './polyfill.mjs'
import { createInterface } from 'node:readline'
import { readFileSync } from 'node:fs'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { sha256 } from '@noble/hashes/sha2.js'
import { createLibp2p } from 'libp2p'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { checkVectors } from './vectors.mjs'
import * as wire from './wire.mjs'

const RAW = 0x55
const TIMEOUT_MS = 15_000
const WRITE_SIZE = 1 << 16

const [chain, mode] = process.argv.slice(2)
const askProtocol = `/p2pai/${chain}/ask/1`
const hex = wire.bytesToHex
const bytes = wire.hexToBytes
const soon = () => AbortSignal.timeout(TIMEOUT_MS)

const heard = [] // {topic, from, size, digest, verdict}
const blobs = new Map() // content id in hex -> chunks
const asked = [] // questions that others put to us, in hex

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify(),
    ping: ping(),
    dht: kadDHT({ protocol: '/ipfs/kad/1.0.0', clientMode: false, peerInfoMapper: passthroughMapper }),
    pubsub: gossipsub({
      // The library's own id leaves out the first two bytes of the author, so lazy gossip would never match.
      msgIdFn: message => wire.concatBytes(message.from.toMultihash().bytes, wire.big(message.sequenceNumber, 8)),
      allowPublishToZeroTopicPeers: true,
      // A lazy node has no mesh: it hears what it asks for, after others offered it.
      ...(mode === 'lazy' ? { D: 0, Dlo: 0, Dhi: 0, Dscore: 0, Dout: 0 } : {})
    })
  }
})

// Gossip

function judge (remote, message) {
  let verdict = 'accept'
  try {
    wire.openEnvelope(message.data, message.topic)
  } catch (error) {
    if (!(error instanceof wire.Refused)) throw error
    verdict = 'reject'
  }
  const seen = { topic: message.topic, from: message.from.toString(), remote: remote.toString() }
  heard.push({ ...seen, size: message.data.length, digest: hex(sha256(message.data)), verdict })
  return verdict
}

// The ask protocol, both sides

async function write (stream, data) {
  for (let at = 0; at < data.length; at += WRITE_SIZE) {
    if (!stream.send(data.subarray(at, at + WRITE_SIZE))) await stream.onDrain({ signal: soon() })
  }
}

// This node has no chain; any other question is answered backwards.
function reply (question) {
  const none = wire.encode(['Headers', new Uint8Array()])
  try {
    if (wire.decode(question, wire.ANSWER_SIZE_MAX)[0] === 'AskHeaders') return none
  } catch {}
  return question.toReversed()
}

function answer ({ request, kind, payload }) {
  const { KIND, frame } = wire
  const blob = blobs.get(hex(payload.subarray(0, 32)))
  if (kind === KIND.ASK) {
    asked.push(hex(payload.subarray(4)))
    return frame(request, KIND.ANSWER, reply(payload.subarray(4)))
  }
  if (kind === KIND.CLOCK) return frame(request, KIND.ANSWER, wire.little(Date.now(), 8))
  if (kind === KIND.KNOWN) return frame(request, KIND.ANSWER)
  if (kind === KIND.MANIFEST && blob) return frame(request, KIND.ANSWER, wire.concatBytes(...blob.map(wire.leafHash)))
  const chunk = kind === KIND.CHUNK && blob?.[new DataView(payload.buffer, payload.byteOffset).getUint32(32, true)]
  return chunk ? frame(request, KIND.ANSWER, chunk) : frame(request, KIND.ABSENT)
}

async function serve (stream) {
  const frames = new wire.Frames()
  try {
    for await (const part of stream) {
      for (const question of frames.push(part.subarray())) await write(stream, answer(question))
    }
  } catch (error) {
    stream.abort(error)
  }
}

class Asker {
  #waiting = new Map()
  #next = 0

  static async open (remote) {
    const asker = new Asker()
    asker.stream = await node.dialProtocol(remote, askProtocol, { signal: soon() })
    asker.#read()
    return asker
  }

  async #read () {
    const frames = new wire.Frames()
    try {
      for await (const part of this.stream) {
        for (const reply of frames.push(part.subarray())) this.#waiting.get(reply.request)?.(reply)
      }
    } catch {}
    for (const settle of this.#waiting.values()) settle(null)
  }

  async request (kind, payload) {
    const request = ++this.#next
    const settled = new Promise(resolve => this.#waiting.set(request, resolve))
    await write(this.stream, wire.frame(request, kind, payload))
    const reply = await Promise.race([settled, new Promise((_, reject) => setTimeout(reject, TIMEOUT_MS, new Error('no answer')))])
    this.#waiting.delete(request)
    if (reply === null) throw new Error('the stream ended')
    const name = Object.keys(wire.KIND).find(key => wire.KIND[key] === reply.kind)
    if (name !== 'ANSWER') throw new Error(name)
    return reply.payload
  }
}

const askers = new Map()
async function askerOf (remote) {
  if (!askers.has(remote)) askers.set(remote, await Asker.open(multiaddr(remote)))
  return askers.get(remote)
}

async function fetchBlob ({ remote, blob }) {
  const asker = await askerOf(remote)
  const id = bytes(blob)
  const leaves = wire.readManifest(await asker.request(wire.KIND.MANIFEST, id), id)
  const chunks = []
  for (const [index, leaf] of leaves.entries()) {
    const place = wire.concatBytes(id, wire.little(index, 4))
    chunks.push(wire.checkChunk(await asker.request(wire.KIND.CHUNK, place), leaf))
  }
  const data = wire.concatBytes(...chunks)
  return { chunks: chunks.length, size: data.length, digest: hex(sha256(data)) }
}

// The DHT

const cid = key => CID.createV1(RAW, Digest.decode(key))

async function findProviders ({ key }) {
  for await (const event of node.services.dht.findProviders(cid(bytes(key)), { signal: soon() })) {
    const found = event.name === 'PROVIDER' || event.name === 'PEER_RESPONSE' ? event.providers ?? [] : []
    const others = found.filter(info => !info.id.equals(node.peerId))
    if (others.length > 0) return others.map(info => ({ id: info.id.toString(), addresses: info.multiaddrs.map(String) }))
  }
  return []
}

// What can be asked for on stdin

async function describe (remote) {
  const connection = node.getConnections(remote)[0]
  const { protocols, metadata } = await node.peerStore.get(remote)
  const agent = metadata.get('AgentVersion')
  return {
    encryption: connection.encryption,
    multiplexer: connection.multiplexer,
    protocols,
    agent: agent ? new TextDecoder().decode(agent) : null
  }
}

const commands = {
  addresses: () => node.getMultiaddrs().map(String),
  connect: async ({ remote }) => { await node.dial(multiaddr(remote), { signal: soon() }) },
  identify: async ({ remote }) => {
    const connection = await node.dial(multiaddr(remote), { signal: soon() })
    await node.services.identify.identify(connection, { signal: soon() })
    return await describe(connection.remotePeer)
  },
  ping: async ({ remote }) => await node.services.ping.ping(multiaddr(remote), { signal: soon() }),
  remotes: () => node.getPeers().map(String),
  join: ({ topic }) => {
    node.services.pubsub.topicValidators.set(topic, judge)
    node.services.pubsub.subscribe(topic)
  },
  leave: ({ topic }) => { node.services.pubsub.unsubscribe(topic) },
  followers: ({ topic }) => node.services.pubsub.getSubscribers(topic).map(String),
  mesh: ({ topic }) => node.services.pubsub.getMeshPeers(topic),
  scores: () => node.getPeers().map(remote => node.services.pubsub.score.score(remote.toString())),
  heard: () => heard,
  publish: async ({ topic, secret, sequence, body, spoil }) => {
    const sealed = wire.seal(bytes(secret), topic, sequence, bytes(body))
    if (spoil) sealed[sealed.length - 1] ^= 1
    await node.services.pubsub.publish(topic, sealed)
    return hex(sha256(sealed))
  },
  publishBytes: async ({ topic, data }) => { await node.services.pubsub.publish(topic, bytes(data)) },
  pay: async ({ topic, chainName, chainId, account, value, fee, spoil }) => {
    const id = bytes(chainId)
    const secret = wire.publishedSecret(chainName, account)
    const output = wire.concatBytes(id, wire.little(account, 4))
    const payment = wire.transfer({ chainId: id, secret, output, value: BigInt(value), fee: BigInt(fee) })
    if (spoil) payment.bytes[payment.bytes.length - 1] ^= 1
    await node.services.pubsub.publish(topic, wire.seal(secret, topic, BigInt(Date.now()) << 20n, payment.bytes))
    return hex(payment.txid)
  },
  ask: async ({ remote, question, patience_ms: patience }) => {
    const payload = wire.concatBytes(wire.little(patience, 4), bytes(question))
    return hex(await (await askerOf(remote)).request(wire.KIND.ASK, payload))
  },
  record: async ({ remote, question, patience_ms: patience }) => {
    const payload = wire.concatBytes(wire.little(patience, 4), wire.encode(question.map(readable)))
    const reply = await (await askerOf(remote)).request(wire.KIND.ASK, payload)
    return printable(wire.decode(reply, wire.ANSWER_SIZE_MAX))
  },
  clock: async ({ remote }) => {
    const time = await (await askerOf(remote)).request(wire.KIND.CLOCK, new Uint8Array())
    return Number(new DataView(time.buffer, time.byteOffset).getBigUint64(0, true))
  },
  known: async ({ remote }) => {
    const lines = await (await askerOf(remote)).request(wire.KIND.KNOWN, new Uint8Array())
    return new TextDecoder().decode(lines).split('\n').filter(Boolean).map(line => multiaddr(line).toString())
  },
  fetch: fetchBlob,
  share: ({ data }) => {
    const chunks = wire.cut(bytes(data))
    const id = hex(wire.blobId(chunks))
    blobs.set(id, chunks)
    return id
  },
  asked: () => asked,
  chainKey: () => hex(wire.meetingKey(chain, 'chain', '', Date.now())),
  provide: async ({ key }) => {
    for await (const _ of node.services.dht.provide(cid(bytes(key)), { signal: soon() }));
  },
  findProviders,
  vectors: ({ path }) => checkVectors(JSON.parse(readFileSync(path, 'utf8')))
}

// Bytes stand in JSON as {"hex": "..."}
function readable (value) {
  if (Array.isArray(value)) return value.map(readable)
  return typeof value === 'object' && value !== null ? bytes(value.hex) : value
}

function printable (value) {
  if (Array.isArray(value)) return value.map(printable)
  return value instanceof Uint8Array ? { hex: hex(value) } : typeof value === 'bigint' ? String(value) : value
}

function say (message) {
  process.stdout.write(JSON.stringify(message) + '\n')
}

async function obey (line) {
  const { id, do: name, ...given } = JSON.parse(line)
  try {
    say({ id, result: await commands[name](given) ?? null })
  } catch (error) {
    say({ id, error: `${error.name}: ${error.message}` })
  }
}

await node.handle(askProtocol, serve)
const lines = createInterface({ input: process.stdin })
lines.on('line', obey)
lines.on('close', () => process.exit(0))
say({ peer_id: node.peerId.toString() })
