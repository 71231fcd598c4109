// The greeter over REST, by Fastify as its documentation shows it, with schemas for the request and the reply.
// node rest.js --listen 127.0.0.1:8002
import Fastify from 'fastify'
import { hello, listen } from './greeting.js'

const schema = {
  body: {
    type: 'object',
    required: ['name'],
    properties: { name: { type: 'string' }, times: { type: 'integer', default: 0 }, photo: { type: 'string', default: '' } }
  },
  response: {
    200: {
      type: 'object',
      properties: { message: { type: 'string' }, letters_in_name: { type: 'integer' }, photo_sum: { type: 'string' } }
    }
  }
}

const app = Fastify()

app.post('/v1/hello', { schema }, async ({ body }) => {
  const { message, letters, sum } = hello(body.name, body.times, Buffer.from(body.photo, 'base64'))
  return { message, letters_in_name: letters, photo_sum: sum.toString('base64') }
})
app.get('/health', async () => ({ ready: true }))

const [, host, port] = listen('127.0.0.1:8002').match(/^\[?(.*?)\]?:(\d+)$/)
await app.listen({ host, port: Number(port) })
