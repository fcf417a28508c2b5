import type { GeometryCollection, Topology } from "topojson-specification";
import { feature, mesh } from "topojson-client";
import states from "us-atlas/states-10m.json";
import world from "world-atlas/countries-110m.json";

// Written once, at build time: the map needs no tile server.
export const dynamic = "force-static";

type Shapes = Topology<Record<string, GeometryCollection>>;

/** Land and borders as GeoJSON, to two digits (about a kilometre). */
export function GET(): Response {
  const us = states as unknown as Shapes;
  const all = world as unknown as Shapes;
  const round = (_key: string, value: unknown) => (typeof value === "number" ? Math.round(value * 100) / 100 : value);
  const others = feature(all, all.objects["countries"]!);
  const land = {
    type: "FeatureCollection",
    features: [
      ...others.features
        .filter(({ id }) => id !== "840")
        .map(({ geometry }) => ({ type: "Feature", properties: { part: "land" }, geometry })),
      { type: "Feature", properties: { part: "land" }, geometry: feature(us, us.objects["nation"]!).features[0]!.geometry },
      { type: "Feature", properties: { part: "border" }, geometry: mesh(us, us.objects["states"]!) },
    ],
  };
  return new Response(JSON.stringify(land, round), {
    headers: { "Content-Type": "application/geo+json", "Cache-Control": "public, max-age=86400" },
  });
}
