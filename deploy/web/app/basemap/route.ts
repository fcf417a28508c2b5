import type { Geometry } from "geojson";
import type { GeometryCollection, Topology } from "topojson-specification";
import { feature, mesh } from "topojson-client";
import { presimplify, simplify } from "topojson-simplify";
import states from "us-atlas/states-10m.json";
import world from "world-atlas/countries-110m.json";

// Rendered once at build time, so that the map needs no tile server.
export const dynamic = "force-static";

/** Smallest detail of the coast that is kept, in square degrees. */
const MIN_AREA = 0.002;

type Ring = readonly (readonly number[])[];
type Shapes = Topology<Record<string, GeometryCollection>>;

/** Return the centre of the largest part's bounding box, as the position of a label. */
function labelPosition(geometry: Geometry): [number, number] {
  const parts: Ring[] =
    geometry.type === "Polygon"
      ? [geometry.coordinates[0]!]
      : geometry.type === "MultiPolygon"
        ? geometry.coordinates.map((part) => part[0]!)
        : [];
  const boxes = parts.map((ring) => {
    const [xs, ys] = [ring.map((point) => point[0]!), ring.map((point) => point[1]!)];
    const [west, east, south, north] = [
      Math.min(...xs),
      Math.max(...xs),
      Math.min(...ys),
      Math.max(...ys),
    ];
    return {
      centre: [(west + east) / 2, (south + north) / 2] as [number, number],
      size: (east - west) * (north - south),
    };
  });
  return boxes.reduce((a, b) => (b.size > a.size ? b : a)).centre;
}

/** Return land, state borders and state names as GeoJSON, rounded to two decimals (about 1 km). */
export function GET(): Response {
  const us = simplify(presimplify(states as unknown as Shapes), MIN_AREA);
  const all = world as unknown as Shapes;
  const round = (_key: string, value: unknown) =>
    typeof value === "number" ? Math.round(value * 100) / 100 : value;
  const others = feature(all, all.objects["countries"]!);
  const land = {
    type: "FeatureCollection",
    features: [
      ...others.features
        .filter(({ id }) => id !== "840")
        .map(({ geometry }) => ({ type: "Feature", properties: { part: "land" }, geometry })),
      {
        type: "Feature",
        properties: { part: "land" },
        geometry: feature(us, us.objects["nation"]!).features[0]!.geometry,
      },
      ...feature(us, us.objects["states"]!).features.map(({ geometry, properties }) => ({
        type: "Feature",
        properties: { part: "name", name: (properties as { name: string }).name },
        geometry: { type: "Point", coordinates: labelPosition(geometry) },
      })),
      {
        type: "Feature",
        properties: { part: "border" },
        geometry: mesh(us, us.objects["states"]!),
      },
    ],
  };
  return new Response(JSON.stringify(land, round), {
    headers: { "Content-Type": "application/geo+json", "Cache-Control": "public, max-age=86400" },
  });
}
