// The load of `python -m comparison pair` by k6: the same rows, open loop at one rate, first over REST and then over gRPC.
// k6 sends at even distances and not at random ones, so that its medians are a little lower under load.
//
//   k6 run -e RATE=200 -e SECONDS=10 -e CONNECTIONS=8 greeter.js
import { check } from 'k6'
import { SharedArray } from 'k6/data'
import exec from 'k6/execution'
import http from 'k6/http'
import grpc from 'k6/net/grpc'

const rows = new SharedArray('rows', () => open('../greeter/rows.jsonl').trim().split('\n').map(JSON.parse))
const target = __ENV.GRPC || '127.0.0.1:50051'
const url = __ENV.REST || 'http://127.0.0.1:8000/v1/hello'
const seconds = Number(__ENV.SECONDS || 10)
const scenario = {
  executor: 'constant-arrival-rate',
  rate: Number(__ENV.RATE || 200),
  timeUnit: '1s',
  duration: `${seconds}s`,
  preAllocatedVUs: Number(__ENV.CONNECTIONS || 8) // each has a connection of its own
}

export const options = {
  scenarios: {
    rest: { ...scenario, exec: 'rest' },
    grpc: { ...scenario, exec: 'overGrpc', startTime: `${seconds + 1}s` }
  },
  thresholds: { checks: ['rate==1.0'] },
  summaryTrendStats: ['med', 'p(90)', 'p(99)']
}

const client = new grpc.Client()
client.load(['../greeter'], 'greeter.proto')
let connected = false

function greeting (row) {
  return Array(Math.max(1, row.times)).fill(`Hello, ${row.name}!`).join(' ')
}

function row () {
  return rows[exec.scenario.iterationInTest % rows.length]
}

export function rest () {
  const asked = row()
  const reply = http.post(url, JSON.stringify(asked), { headers: { 'content-type': 'application/json' } })
  check(reply, { 'REST answers rightly': r => r.status === 200 && r.json('message') === greeting(asked) })
}

export function overGrpc () {
  if (!connected) {
    client.connect(target, { plaintext: true })
    connected = true
  }
  const asked = row()
  const reply = client.invoke('greeter.v1.Greeter/SayHello', asked)
  check(reply, { 'gRPC answers rightly': r => r.status === grpc.StatusOK && r.message.message === greeting(asked) })
}
