import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ArgumentError, FileError } from '../lib/base/errors.js'
import { fileError, formatBytes, readFileChecked, writeFileAtomic } from '../lib/base/files.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'feynkac-files-'))
})
afterAll(() => rm(folder, { recursive: true }))

const systemError = (code: string) => Object.assign(new Error(`${code}: raw`), { code, syscall: 'open' })

describe('writeFileAtomic', () => {
  it('writes text, bytes and chunks, and leaves no temporary', async () => {
    const place = join(folder, 'plain')
    await mkdir(place)
    const path = join(place, 'a')
    await writeFileAtomic(path, 'text')
    expect(await readFile(path, 'utf8')).toBe('text')
    await writeFileAtomic(path, Uint8Array.of(1, 2))
    expect([...(await readFile(path))]).toEqual([1, 2])
    await writeFileAtomic(path, [Uint8Array.of(3), new Uint8Array(0), Uint8Array.of(4, 5)])
    expect([...(await readFile(path))]).toEqual([3, 4, 5])
    expect(await readdir(place)).toEqual(['a'])
  })

  it('keeps the old file and removes the temporary when the content fails half-way', async () => {
    const place = join(folder, 'failing')
    await mkdir(place)
    const path = join(place, 'a')
    await writeFileAtomic(path, 'old')
    function* broken() {
      yield Uint8Array.of(1)
      throw new RangeError('no more')
    }
    await expect(writeFileAtomic(path, broken())).rejects.toThrow(RangeError)
    expect(await readFile(path, 'utf8')).toBe('old')
    expect(await readdir(place)).toEqual(['a'])
  })

  it('writes through a symbolic link and keeps the permissions', async () => {
    const real = join(folder, 'real')
    await writeFile(real, 'old')
    await chmod(real, 0o640)
    await symlink(real, join(folder, 'link'))
    await writeFileAtomic(join(folder, 'link'), 'new')
    expect(await readFile(real, 'utf8')).toBe('new')
    expect((await stat(real)).mode & 0o777).toBe(0o640)
  })

  it('accepts the longest names', async () => {
    const path = join(folder, 'n'.repeat(255))
    await writeFileAtomic(path, 'x')
    expect(await readFile(path, 'utf8')).toBe('x')
    await expect(writeFileAtomic(`${path}n`, 'x')).rejects.toThrow(/name is too long/)
  })

  it('names the path and the cause when it cannot write', async () => {
    await expect(writeFileAtomic(folder, 'x')).rejects.toThrow(FileError)
    await expect(writeFileAtomic(folder, 'x')).rejects.toThrow(/it is a folder/)
    const missing = join(folder, 'missing', 'a')
    await expect(writeFileAtomic(missing, 'x')).rejects.toMatchObject({ code: 'FEYNKAC_FILE', path: missing })
    await expect(writeFileAtomic('/dev/null', 'x')).rejects.toThrow(/no regular file/)
    await expect(writeFileAtomic('', 'x')).rejects.toThrow(ArgumentError)
  })

  it('reports a full disk with the bytes wanted', async () => {
    // a file system that is always full, without mounting one
    const error = fileError(systemError('ENOSPC'), '/x/model', 'write', 2_500_000) as FileError
    expect(error).toBeInstanceOf(FileError)
    expect(error.message).toMatch(/"\/x\/model".*disk is full \(2\.50 MB wanted\)/)
    expect((fileError(systemError('EDQUOT'), 'p', 'write', 10) as Error).message).toMatch(/quota.*10 bytes wanted/)
  })
})

describe('readFileChecked', () => {
  it('gives the bytes', async () => {
    const path = join(folder, 'bytes')
    await writeFile(path, Uint8Array.of(7, 8, 9))
    expect([...(await readFileChecked(path))]).toEqual([7, 8, 9])
    await expect(readFileChecked(path, { maxBytes: 2 })).rejects.toThrow(/limit of 2 bytes/)
  })

  it('refuses what is missing, a folder, a device or no name', async () => {
    await expect(readFileChecked(join(folder, 'none'))).rejects.toThrow(/there is no such file/)
    await expect(readFileChecked(join(folder, 'bytes', 'under'))).rejects.toThrow(/not a folder/)
    await expect(readFileChecked(folder)).rejects.toThrow(/it is a folder/)
    await expect(readFileChecked('/dev/zero')).rejects.toThrow(/no regular file/)
    await expect(readFileChecked('a\0b')).rejects.toThrow(FileError)
    await expect(readFileChecked(undefined as unknown as string)).rejects.toThrow(ArgumentError)
  })
})

describe('fileError', () => {
  it('explains every system error it knows and passes on what is none', () => {
    for (const code of [
      'ENOENT',
      'ENOTDIR',
      'EISDIR',
      'EACCES',
      'EPERM',
      'EROFS',
      'EMFILE',
      'ENFILE',
      'EIO',
      'EBUSY',
    ]) {
      const error = fileError(systemError(code), 'p', 'read') as FileError
      expect(error).toBeInstanceOf(FileError)
      expect(error.message).toMatch(/cannot read "p": \S/)
      expect(error.message).not.toContain('raw')
    }
    expect((fileError(systemError('EODD'), 'p', 'read') as Error).message).toContain('EODD: raw')
    const own = new TypeError('bug')
    expect(fileError(own, 'p', 'read')).toBe(own)
    const typed = new FileError('m', 'q')
    expect(fileError(typed, 'p', 'read')).toBe(typed)
  })

  it('writes sizes shortly', () => {
    expect([0, 999, 1000, 1.5e6, 3e9, 5e15].map(formatBytes)).toEqual([
      '0 bytes',
      '999 bytes',
      '1.00 kB',
      '1.50 MB',
      '3.00 GB',
      '5.00e+3 TB',
    ])
  })
})
