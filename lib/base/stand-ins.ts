/** What a file is that stands where data or weights are expected, told by how it begins: for messages that say what to do. */
export function standIn(head: Uint8Array): string | null {
  if (head.length === 0) return 'it is empty'
  const text = Buffer.from(head.buffer, head.byteOffset, Math.min(512, head.length)).toString('latin1')
  if (text.startsWith('version https://git-lfs.github.com/'))
    return 'it is a Git LFS pointer, not the file itself: fetch that by git lfs pull'
  if (text.slice(257, 262) === 'ustar') return 'it is a tar archive: unpack it first (tar -xf)'
  if (text.startsWith('\x89HDF')) return 'it is an HDF5 file: save its arrays as .npy or .npz'
  if (text.startsWith('PAR1')) return 'it is a Parquet table: save its pictures as files, or as .npy'
  if (text.startsWith('ARROW1')) return 'it is an Arrow table: save its pictures as files, or as .npy'
  if (text.startsWith('7z\xbc\xaf') || text.startsWith('Rar!')) return 'it is a 7z or RAR archive: unpack it first'
  if (text.startsWith('\x1f\x8b')) return 'it is compressed by gzip: unpack it first (gunzip)'
  if (/^(\xfd7zXZ|\x28\xb5\x2f\xfd|BZh)/.test(text)) return 'it is compressed by xz, zstd or bzip2: unpack it first'
  if (/^.{5}\0\0\0\{"/s.test(text)) return 'it holds the weights of a model (safetensors), not data'
  if (text.startsWith('MATLAB 5.0')) return 'it is a MATLAB file: save its arrays as .npy or .npz'
  if (/^....ftyp/s.test(text)) return 'it is a HEIC picture or a film: save PNG or JPEG pictures of it'
  if (/^\s*<(!doctype|html)/i.test(text)) return 'it is a web page, not the file that was meant: download that again'
  return null
}
