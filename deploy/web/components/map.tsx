"use client";
import type { Feature, Point } from "geojson";
import {
  type GeoJSONSource, type GeoJSONSourceDiff, LngLatBounds, Map as MapLibre, NavigationControl, setWorkerUrl,
} from "maplibre-gl";
import "maplibre-gl/dist/maplibre-gl.css";
import { useEffect, useRef, useState } from "react";
import { text } from "@/lib/format";
import type { PropertyRow } from "@/lib/contract";
import type { Fresh, FreshById } from "@/lib/highlights";
import { cities, paint, style } from "./map-style";
import styles from "./map.module.css";

// A bundler has to be told that this file is wanted beside the others.
setWorkerUrl(new URL("maplibre-gl/dist/maplibre-gl-worker.mjs", import.meta.url).href);

interface Props {
  rows: readonly PropertyRow[];
  fresh: FreshById;
  ready: boolean;
  /** What is shown; the map goes there when it is another one. */
  place: string;
  selected: string | null;
  onSelect?: (id: string) => void;
}

export default function ListingMap({ rows, fresh, ready, place, selected, onSelect }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const [map, setMap] = useState<MapLibre | null>(null);
  const [trouble, setTrouble] = useState<string | null>(null);
  const drawn = useRef(new Map<string, Drawn>());
  const select = useRef(onSelect);
  const went = useRef(false);
  useEffect(() => {
    select.current = onSelect;
  }, [onSelect]);

  useEffect(() => {
    if (!host.current) return;
    let made: MapLibre;
    try {
      made = new MapLibre({
        container: host.current,
        style: style(colours()),
        center: [-96, 38.5],
        zoom: 3,
        minZoom: 1,
        attributionControl: false,
        dragRotate: false,
        pitchWithRotate: false,
      });
    } catch (error) {
      // eslint-disable-next-line react-hooks/set-state-in-effect -- known only once it was tried
      setTrouble(String(error instanceof Error ? error.message : error));
      return;
    }
    made.addControl(new NavigationControl({ showCompass: false }), "top-right");
    made.on("style.load", () => setMap(made)); // the points need not wait for the land
    made.on("error", ({ error }) => console.error(`map: ${error.message}`));
    made.on("click", "points", ({ features }) => {
      const id: unknown = features?.[0]?.properties["id"];
      if (typeof id === "string") select.current?.(id);
    });
    made.on("mouseenter", "points", () => (made.getCanvas().style.cursor = "pointer"));
    made.on("mouseleave", "points", () => (made.getCanvas().style.cursor = ""));
    const repaint = () => paint(made, colours());
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", repaint);
    window.addEventListener("theme", repaint);
    const shapes = drawn.current;
    return () => {
      scheme.removeEventListener("change", repaint);
      window.removeEventListener("theme", repaint);
      shapes.clear();
      setMap(null);
      made.remove();
    };
  }, []);

  useEffect(() => {
    if (!map) return;
    const diff = difference(drawn.current, rows, fresh);
    if (diff) map.getSource<GeoJSONSource>("listings")?.updateData(diff);
  }, [map, rows, fresh]);

  useEffect(() => {
    if (!map || !ready) return;
    const held = [...drawn.current.values()].map(({ row }) => row);
    map.getSource<GeoJSONSource>("cities")?.setData(cities(held));
    const points = held.map(where).filter((point) => point !== null);
    if (points.length === 0) return;
    const bounds = points.reduce((box, point) => box.extend(point), new LngLatBounds(points[0], points[0]));
    map.fitBounds(bounds, { padding: 48, maxZoom: 6.2, animate: went.current && !still() });
    went.current = true;
  }, [map, ready, place]);

  useEffect(() => {
    if (!map || selected === null) return;
    map.setFeatureState({ source: "listings", id: selected }, { selected: true });
    const point = where(drawn.current.get(selected)?.row);
    if (point && !map.getBounds().contains(point)) map.easeTo({ center: point, animate: !still() });
    return () => {
      if (map.getSource("listings")) map.removeFeatureState({ source: "listings", id: selected }, "selected");
    };
  }, [map, selected]);

  return (
    <div className={styles.map} data-testid="map" data-count={rows.filter((row) => where(row)).length}>
      {trouble ? (
        <p className={styles.trouble}>The map needs WebGL, which this browser does not give. The list has everything.</p>
      ) : (
        <div ref={host} className={styles.host} />
      )}
    </div>
  );
}

interface Drawn {
  row: PropertyRow;
  fresh: Fresh | undefined;
}

function still(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

function where(row: PropertyRow | undefined): [number, number] | null {
  const { longitude, latitude } = row ?? {};
  return typeof longitude === "number" && typeof latitude === "number" ? [longitude, latitude] : null;
}

function feature({ row, fresh }: Drawn, coordinates: [number, number]): Feature<Point> {
  const id = String(row.property_id);
  return {
    type: "Feature",
    id,
    geometry: { type: "Point", coordinates },
    properties: { id, status: text(row, "status") ?? "", fresh: fresh ? 1 : 0 },
  };
}

/** What became different since it was drawn last; `drawn` is brought up to date. */
function difference(
  drawn: Map<string, Drawn>,
  rows: readonly PropertyRow[],
  highlights: FreshById,
): GeoJSONSourceDiff | null {
  const add: Feature<Point>[] = [];
  const remove: string[] = [];
  const here = new Set<string>();
  for (const row of rows) {
    const point = where(row);
    if (!point) continue;
    const id = String(row.property_id);
    const now = { row, fresh: highlights.get(id) };
    const before = drawn.get(id);
    here.add(id);
    if (before?.row === row && before.fresh === now.fresh) continue;
    drawn.set(id, now);
    add.push(feature(now, point));
  }
  for (const id of drawn.keys()) {
    if (here.has(id)) continue;
    drawn.delete(id);
    remove.push(id);
  }
  return add.length + remove.length > 0 ? { add, remove } : null;
}

/** The theme's colours as the page has them now. */
function colours(): (name: string) => string {
  const root = getComputedStyle(document.documentElement);
  return (name) => root.getPropertyValue(`--${name}`).trim();
}
