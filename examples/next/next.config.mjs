/** An addon has to stay out of bundles. */
export default { serverExternalPackages: ['feynkac'] }
