import { pictureOf, type Shown } from './runs.js'

/** Pictures of reports: of a fit, the demo, an experiment. */
export function Report({ shown }: { shown: readonly Shown[] }) {
  return (
    <div class="gallery">
      {shown.flatMap(({ run, log, color }) =>
        log.pictures.map((name) => (
          <figure key={`${run.id} ${name}`} class="card">
            <figcaption>
              {shown.length > 1 && <i class="swatch" style={{ background: color }} />}
              {name.replace(/\.png$/, '').replace(/-/g, ' ')}
            </figcaption>
            <a href={pictureOf(run, name)} target="_blank" rel="noreferrer">
              <img src={pictureOf(run, name)} alt={name} />
            </a>
          </figure>
        )),
      )}
    </div>
  )
}
