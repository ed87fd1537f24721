// The main process of an Electron program: samples in the background, levels to the window as they come. electron examples/electron/main.mjs
import { app, BrowserWindow, ipcMain } from 'electron'
import { gaussianMixture, lowTemperature, sigmaGrid, smc } from 'feynkac'

const energy = gaussianMixture({
  weights: [1, 2],
  means: [
    [-1, 0],
    [1, 0],
  ],
  covariances: [0.1, 0.2],
}) // or EnergyModel.load(...)
const stops = new Map()

ipcMain.handle('sample', async (event, { gamma, particles }) => {
  const stop = new AbortController()
  stops.set(event.sender.id, stop)
  const sigmas = sigmaGrid({ steps: 32, min: 0.02, max: 20 })
  const run = smc.stream(lowTemperature(energy, { gamma }), { particles, sigmas, signal: stop.signal })
  for await (const level of run) {
    const points = await level.denoised()
    if (event.sender.isDestroyed()) return null // the window was closed: the run stops
    event.sender.send('level', { level: level.level, lastLevel: level.lastLevel, points })
  }
  return (await run.result).toJSON()
})
ipcMain.handle('stop', (event) => stops.get(event.sender.id)?.abort(new Error('stopped')))

await app.whenReady()
const window = new BrowserWindow({ webPreferences: { contextIsolation: true } })
await window.loadURL('data:text/html,<p>samples: see the messages of the channel "level"')
