// The map's style, without a tile server: sea, land, borders, graticule, listings.
import type { FeatureCollection } from "geojson";
import type { PropertyRow } from "@/lib/bridge/contract";
import type { LayerSpecification, Map as MapLibre, StyleSpecification } from "maplibre-gl";

type PaintProperty = Parameters<MapLibre["setPaintProperty"]>[1];
type Colours = (name: string) => string;

const STATUS = (colour: Colours) => [
  "match",
  ["get", "status"],
  "available",
  colour("available"),
  "pending",
  colour("pending"),
  "sold",
  colour("sold"),
  colour("ink-soft"),
];

/** Return the paint properties of each layer in the theme's colours. */
function paints(colour: Colours): Record<string, Record<string, unknown>> {
  return {
    sea: { "background-color": colour("sea") },
    grid: { "line-color": colour("grid"), "line-width": 0.5 },
    land: { "fill-color": colour("land"), "fill-outline-color": colour("coast") },
    borders: { "line-color": colour("coast"), "line-width": 0.8 },
    names: {
      "text-color": colour("ink-soft"),
      "text-halo-color": colour("land"),
      "text-halo-width": 1,
      "text-opacity": 0.8,
    },
    cities: {
      "text-color": colour("ink"),
      "text-halo-color": colour("land"),
      "text-halo-width": 1.2,
    },
    halo: {
      "circle-color": colour("accent"),
      "circle-opacity": [
        "case",
        ["boolean", ["feature-state", "selected"], false],
        0.35,
        ["==", ["get", "recent"], 1],
        0.28,
        0,
      ],
      "circle-radius": ["case", ["boolean", ["feature-state", "selected"], false], 16, 13],
    },
    points: {
      "circle-color": STATUS(colour),
      "circle-radius": ["interpolate", ["linear"], ["zoom"], 2, 3.5, 8, 7],
      "circle-stroke-color": [
        "case",
        ["boolean", ["feature-state", "selected"], false],
        colour("ink"),
        colour("paper"),
      ],
      "circle-stroke-width": ["case", ["boolean", ["feature-state", "selected"], false], 2.5, 1],
    },
  };
}

// Local fonts: the browser draws the glyphs, none are loaded.
const FONTS = ["system-ui", "sans-serif"];

const LAYERS = [
  { id: "sea", type: "background" },
  { id: "grid", type: "line", source: "grid" },
  { id: "land", type: "fill", source: "land", filter: ["==", ["get", "part"], "land"] },
  { id: "borders", type: "line", source: "land", filter: ["==", ["get", "part"], "border"] },
  {
    id: "names",
    type: "symbol",
    source: "land",
    filter: ["==", ["get", "part"], "name"],
    maxzoom: 6.5,
    layout: {
      "text-field": ["get", "name"],
      "text-font": FONTS,
      "text-size": 11,
      "text-transform": "uppercase",
      "text-letter-spacing": 0.08,
    },
  },
  { id: "halo", type: "circle", source: "listings" },
  { id: "points", type: "circle", source: "listings" },
  {
    id: "cities",
    type: "symbol",
    source: "cities",
    minzoom: 4,
    layout: {
      "text-field": ["get", "name"],
      "text-font": FONTS,
      "text-size": 13,
      "text-offset": [0, 1.2],
      "text-anchor": "top",
    },
  },
];

export function createStyle(colour: Colours): StyleSpecification {
  const painted = paints(colour);
  return {
    version: 8,
    sources: {
      grid: { type: "geojson", data: graticule(10) },
      land: { type: "geojson", data: "/basemap" },
      cities: { type: "geojson", data: { type: "FeatureCollection", features: [] } },
      listings: {
        type: "geojson",
        data: { type: "FeatureCollection", features: [] },
        promoteId: "id",
      },
    },
    layers: LAYERS.map((layer) => ({ ...layer, paint: painted[layer.id] })) as LayerSpecification[],
  };
}

/** Apply the theme's colours to an existing map. */
export function applyColours(map: MapLibre, colour: Colours): void {
  for (const [layer, properties] of Object.entries(paints(colour))) {
    for (const [name, value] of Object.entries(properties)) {
      map.setPaintProperty(
        layer,
        name as PaintProperty,
        value as Parameters<MapLibre["setPaintProperty"]>[2],
      );
    }
  }
}

/** Return a label for each city with listings, at the mean of their coordinates. */
export function cityLabels(rows: readonly PropertyRow[]): FeatureCollection {
  const cities = new Map<string, { name: string; points: [number, number][] }>();
  for (const { city, state, longitude, latitude } of rows) {
    if (city === null || longitude === null || latitude === null) continue;
    const place = cities.get(`${state}/${city}`) ?? { name: city, points: [] };
    place.points.push([longitude, latitude]);
    cities.set(`${state}/${city}`, place);
  }
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    type: "FeatureCollection",
    features: [...cities.values()].map(({ name, points }) => ({
      type: "Feature",
      properties: { name },
      geometry: {
        type: "Point",
        coordinates: [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))],
      },
    })),
  };
}

/** Return meridians and parallels, `step` degrees apart. */
function graticule(step: number): FeatureCollection {
  const lines: [number, number][][] = [];
  for (let longitude = -180; longitude <= 180; longitude += step)
    lines.push([
      [longitude, -80],
      [longitude, 80],
    ]);
  for (let latitude = -80; latitude <= 80; latitude += step)
    lines.push([
      [-180, latitude],
      [180, latitude],
    ]);
  return {
    type: "FeatureCollection",
    features: [
      {
        type: "Feature",
        properties: {},
        geometry: { type: "MultiLineString", coordinates: lines },
      },
    ],
  };
}
