import type { Dirent } from 'node:fs'
import { opendir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileError, readFileChecked } from '../base/files.js'
import { type ImageSource, MAX_FILE } from './image-source.js'
import { isImageName } from './images.js'

/** What a folder holds, some at a time: of a hundred thousand a list is not made in one go. */
export async function* entriesOf(path: string): AsyncGenerator<Dirent> {
  yield* await opendir(path, { bufferSize: 128 })
}

/** The files of a folder and the folders in it, but no hidden ones, nor a link back to a folder that it lies in. Throws FileError. */
export async function folderSource(path: string, signal?: AbortSignal): Promise<ImageSource> {
  const names: string[] = []
  const visit = async (folder: string, above: readonly string[]): Promise<void> => {
    signal?.throwIfAborted()
    const { dev, ino } = await stat(join(path, folder))
    const place = `${dev}:${ino}`
    if (above.includes(place)) return
    for await (const entry of entriesOf(join(path, folder))) {
      if (entry.name.startsWith('.')) continue
      const name = folder === '' ? entry.name : `${folder}/${entry.name}`
      if (entry.isDirectory() || (await isLinkToFolder(entry, join(path, name)))) await visit(name, [...above, place])
      else names.push(name)
    }
  }
  try {
    await visit('', [])
  } catch (error) {
    throw fileError(error, path, 'read the folder')
  }
  const read = (name: string, maxBytes = MAX_FILE) => readFileChecked(join(path, name), { maxBytes, signal })
  return { path, names, read }
}

/** Links with the name of a picture are not looked at: there may be a hundred thousand. */
async function isLinkToFolder(entry: Dirent, path: string): Promise<boolean> {
  if (!entry.isSymbolicLink() || isImageName(entry.name)) return false
  return stat(path).then(
    (there) => there.isDirectory(),
    () => false,
  )
}
