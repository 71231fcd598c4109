// Replays a recording over REST, by Fastify as its documentation shows it, with schemas for the request and the reply.
import Fastify from 'fastify'
import { host, port, route, rows, schemas, table, wait, waits } from './recording.js'

const canonical = value => JSON.stringify(value, (_, inner) => inner && typeof inner === 'object' && !Array.isArray(inner)
  ? Object.fromEntries(Object.entries(inner).sort(([one], [other]) => (one < other ? -1 : 1)))
  : inner)
const meaning = key => {
  const [target, text] = key.split('\n', 2)
  return route.has_body ? `${target}\n${canonical(JSON.parse(text || 'null'))}` : target
}
const find = table(rows.map(({ rest: { target, text, reply }, ms }) => [`${target}\n${text}`, { reply, ms }]), meaning)

const app = Fastify()
app.removeContentTypeParser('application/json')
app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, text, done) => {
  request.key = `${request.raw.url}\n${text.replaceAll('\n', ' ')}`
  try {
    done(null, JSON.parse(text))
  } catch (error) {
    done(Object.assign(error, { statusCode: 400 }))
  }
})

app.route({
  method: route.method,
  url: route.path.includes('{{') ? '/*' : route.path.replaceAll(':', '::'),
  schema: { ...(schemas.body && { body: schemas.body }), ...(schemas.reply && { response: { [route.status]: schemas.reply } }) },
  handler: async (request, reply) => {
    const found = find(request.key ?? `${request.raw.url}\n`)
    if (!found) return reply.code(404).send({ detail: 'the recording has no such request' })
    if (waits(found.ms)) await wait(found.ms)
    reply.code(route.status)
    return found.reply === null ? reply.send() : found.reply
  }
})
await app.listen({ host, port })
