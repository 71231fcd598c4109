// The greeter over gRPC, by @grpc/grpc-js with @grpc/proto-loader as their documentation shows it.
// node grpc.js --listen 127.0.0.1:50052
import { fileURLToPath } from 'node:url'
import grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { hello, listen } from './greeting.js'

const proto = process.env.GREETER_PROTO ?? fileURLToPath(new URL('../greeter/greeter.proto', import.meta.url))
const { greeter } = grpc.loadPackageDefinition(loadSync(proto, { keepCase: true, longs: Number, defaults: true }))

function sayHello ({ request }, answer) {
  const { message, letters, sum } = hello(request.name, request.times, request.photo)
  answer(null, { message, letters_in_name: letters, photo_sum: sum })
}

function countdown (call) {
  for (let left = call.request.times; left > 0; left--) call.write({ message: `${left}, ${call.request.name}` })
  call.end()
}

const server = new grpc.Server()
server.addService(greeter.v1.Greeter.service, { SayHello: sayHello, Countdown: countdown })
server.bindAsync(listen('127.0.0.1:50052'), grpc.ServerCredentials.createInsecure(), error => {
  if (error) throw error
})
