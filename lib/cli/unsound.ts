/** Thrown once a command has done its work and written its files where its result is not to be relied on: exit status 3. */
export class Unsound extends Error {
  readonly exitCode = 3
}
