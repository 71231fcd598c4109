// What both replaying servers read: tables that replay_node.py wrote beside the recording. node FILE.js FOLDER --listen HOST:PORT
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const [folder, , at] = process.argv.slice(2)
const [, bare, portText] = at.match(/^\[?(.*?)\]?:(\d+)$/)

export const listen = at
export const host = bare
export const port = Number(portText)
export const contract = readFileSync(join(folder, 'twin.protoset'))
export const { service, method, route, schemas, rows } = JSON.parse(readFileSync(join(folder, 'node.json'), 'utf8'))

// The recorded service time, in whole milliseconds: Node.js's timers have no others.
export const wait = ms => new Promise(resolve => { setTimeout(resolve, Math.round(ms)) })
export const waits = ms => Math.round(ms) > 0

// Looks a request up by what came, then by its meaning; the load sends few different bytes, so the first is the rule.
export function table (entries, meaning) {
  const byMeaning = new Map(entries.map(([key, found]) => [meaning(key), found]))
  const known = new Map(entries)
  const most = 4 * entries.length
  return key => {
    let found = known.get(key)
    if (found === undefined) {
      found = byMeaning.get(meaning(key))
      if (found !== undefined && known.size < most) known.set(key, found)
    }
    return found
  }
}
