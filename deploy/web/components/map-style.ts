// A map without a tile server: the sea, the land, borders, a graticule, and the listings.
import type { FeatureCollection } from "geojson";
import type { LayerSpecification, Map as MapLibre, StyleSpecification } from "maplibre-gl";

type PaintProperty = Parameters<MapLibre["setPaintProperty"]>[1];
type Colours = (name: string) => string;

const STATUS = (colour: Colours) => [
  "match", ["get", "status"],
  "available", colour("available"),
  "pending", colour("pending"),
  "sold", colour("sold"),
  colour("ink-soft"),
];

/** Paint properties by layer, which follow the theme. */
function paints(colour: Colours): Record<string, Record<string, unknown>> {
  return {
    sea: { "background-color": colour("sea") },
    grid: { "line-color": colour("grid"), "line-width": 0.5 },
    land: { "fill-color": colour("land"), "fill-outline-color": colour("coast") },
    borders: { "line-color": colour("coast"), "line-width": 0.8 },
    halo: {
      "circle-color": colour("accent"),
      "circle-opacity": ["case", ["boolean", ["feature-state", "selected"], false], 0.35, ["==", ["get", "fresh"], 1], 0.28, 0],
      "circle-radius": ["case", ["boolean", ["feature-state", "selected"], false], 16, 13],
    },
    points: {
      "circle-color": STATUS(colour),
      "circle-radius": ["interpolate", ["linear"], ["zoom"], 2, 3.5, 8, 7],
      "circle-stroke-color": ["case", ["boolean", ["feature-state", "selected"], false], colour("ink"), colour("paper")],
      "circle-stroke-width": ["case", ["boolean", ["feature-state", "selected"], false], 2.5, 1],
    },
  };
}

const LAYERS = [
  { id: "sea", type: "background" },
  { id: "grid", type: "line", source: "grid" },
  { id: "land", type: "fill", source: "land", filter: ["==", ["get", "part"], "land"] },
  { id: "borders", type: "line", source: "land", filter: ["==", ["get", "part"], "border"] },
  { id: "halo", type: "circle", source: "listings" },
  { id: "points", type: "circle", source: "listings" },
];

export function style(colour: Colours): StyleSpecification {
  const painted = paints(colour);
  return {
    version: 8,
    sources: {
      grid: { type: "geojson", data: graticule(10) },
      land: { type: "geojson", data: "/land" },
      listings: { type: "geojson", data: { type: "FeatureCollection", features: [] }, promoteId: "id" },
    },
    layers: LAYERS.map((layer) => ({ ...layer, paint: painted[layer.id] })) as LayerSpecification[],
  };
}

export function paint(map: MapLibre, colour: Colours): void {
  for (const [layer, properties] of Object.entries(paints(colour))) {
    for (const [name, value] of Object.entries(properties)) {
      map.setPaintProperty(layer, name as PaintProperty, value as Parameters<MapLibre["setPaintProperty"]>[2]);
    }
  }
}

/** Meridians and parallels, `step` degrees apart. */
function graticule(step: number): FeatureCollection {
  const lines: [number, number][][] = [];
  for (let longitude = -180; longitude <= 180; longitude += step) lines.push([[longitude, -80], [longitude, 80]]);
  for (let latitude = -80; latitude <= 80; latitude += step) lines.push([[-180, latitude], [180, latitude]]);
  return {
    type: "FeatureCollection",
    features: [{ type: "Feature", properties: {}, geometry: { type: "MultiLineString", coordinates: lines } }],
  };
}
