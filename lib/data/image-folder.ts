import type { Dirent } from 'node:fs'
import { opendir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileError, readFileChecked } from '../base/files.js'
import { type ImageSource, MAX_FILE } from './image-source.js'

/** What a folder holds, some at a time: of a hundred thousand a list is not made in one go. */
export async function* entriesOf(path: string): AsyncGenerator<Dirent> {
  yield* await opendir(path, { bufferSize: 128 })
}

/** The files of a folder and the folders in it; hidden ones and links to folders are left out. Throws FileError. */
export async function folderSource(path: string, signal?: AbortSignal): Promise<ImageSource> {
  const names: string[] = []
  const visit = async (folder: string): Promise<void> => {
    signal?.throwIfAborted()
    for await (const entry of entriesOf(join(path, folder))) {
      if (entry.name.startsWith('.')) continue
      const name = folder === '' ? entry.name : `${folder}/${entry.name}`
      if (entry.isDirectory()) await visit(name)
      else names.push(name)
    }
  }
  try {
    await visit('')
  } catch (error) {
    throw fileError(error, path, 'read the folder')
  }
  const read = (name: string, maxBytes = MAX_FILE) => readFileChecked(join(path, name), { maxBytes, signal })
  return { path, names, read }
}
