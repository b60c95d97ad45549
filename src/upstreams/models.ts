/** The models an upstream serves: names, `*` for any, or our name → its own name for it. */
export type Models = readonly string[] | Readonly<Record<string, string>>

/** Our names of the models. */
export function ourNames(models: Models): readonly string[] {
  return isList(models) ? models : Object.keys(models)
}

/** Gives what an upstream calls a model; undefined when it does not serve it. Without `models` it serves any. */
export function toTheirName(models: Models | undefined): (model: string) => string | undefined {
  if (!models || (isList(models) && models.includes('*'))) return (model) => model
  const names = new Map(isList(models) ? models.map((name) => [name, name]) : Object.entries(models))
  return (model) => names.get(model)
}

function isList(models: Models): models is readonly string[] {
  return Array.isArray(models)
}
