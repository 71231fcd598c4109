// Replays a recording over gRPC, by @grpc/grpc-js with @grpc/proto-loader as their documentation shows them.
import grpc from '@grpc/grpc-js'
import { loadFileDescriptorSetFromBuffer } from '@grpc/proto-loader'
import { contract, listen, method, rows, service, table, wait, waits } from './recording.js'

const loaded = loadFileDescriptorSetFromBuffer(contract, { keepCase: true, longs: String, defaults: true })
const own = loaded[service][method]
const entries = rows.map(({ grpc: { request, reply }, ms }) => [
  Buffer.from(request, 'base64').toString('latin1'),
  { reply: own.responseDeserialize(Buffer.from(reply, 'base64')), ms }
])
const find = table(entries, key => own.requestSerialize(own.requestDeserialize(Buffer.from(key, 'latin1'))).toString('latin1'))
const described = {
  [method]: { ...own, requestDeserialize: data => ({ message: own.requestDeserialize(data), key: data.toString('latin1') }) }
}

async function answer ({ request: { key } }, done) {
  const found = find(key)
  if (!found) return done({ code: grpc.status.NOT_FOUND, details: 'the recording has no such request' })
  if (waits(found.ms)) await wait(found.ms)
  done(null, found.reply)
}

const server = new grpc.Server()
server.addService(described, { [method]: answer })
server.bindAsync(listen, grpc.ServerCredentials.createInsecure(), error => {
  if (error) throw error
})
