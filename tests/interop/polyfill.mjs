// Promise.withResolvers came with Node.js 22; js-libp2p uses it.

Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((yes, no) => { [resolve, reject] = [yes, no] })
  return { promise, resolve, reject }
}
