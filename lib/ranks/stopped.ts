import { FeynkacError } from '../base/errors.js'

/** The reason why a run ends on the ranks that were not stopped themselves. */
export class Stopped extends FeynkacError {
  constructor() {
    super('another rank was stopped')
  }
}
