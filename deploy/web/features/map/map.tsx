"use client";
import {
  type GeoJSONSource,
  LngLatBounds,
  Map as MapLibre,
  NavigationControl,
  setWorkerUrl,
} from "maplibre-gl";
import "maplibre-gl/dist/maplibre-gl.css";
import { useEffect, useRef, useState } from "react";
import type { PropertyRow } from "@/lib/bridge/contract";
import type { RecentChangesById } from "@/features/highlights/highlights";
import { coordinatesOf, PointUpdates } from "./points";
import { applyColours, cityLabels, createStyle } from "./style";
import styles from "./map.module.css";

// The worker is loaded by URL; this form makes the bundler emit its file.
setWorkerUrl(new URL("maplibre-gl/dist/maplibre-gl-worker.mjs", import.meta.url).href);

interface Props {
  rows: readonly PropertyRow[];
  recent: RecentChangesById;
  ready: boolean;
  /** Identifies the view. The map moves to its listings when it changes. */
  viewKey: string;
  selected: string | null;
  onSelect?: (id: string) => void;
}

export default function ListingMap({ rows, recent, ready, viewKey, selected, onSelect }: Props) {
  const container = useRef<HTMLDivElement>(null);
  const [map, setMap] = useState<MapLibre | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [points, setPoints] = useState<PointUpdates | null>(null);
  const latestRows = useRef(rows);
  const latestOnSelect = useRef(onSelect);
  const positioned = useRef(false);
  useEffect(() => {
    latestOnSelect.current = onSelect;
    latestRows.current = rows;
  }, [onSelect, rows]);

  useEffect(() => {
    if (!container.current) return;
    let created: MapLibre;
    try {
      created = new MapLibre({
        container: container.current,
        style: createStyle(readColours()),
        center: [-96, 38.5],
        zoom: 3,
        minZoom: 1,
        attributionControl: false,
        fadeDuration: 0, // the default redraws for 0.3 s after each update of a point
        dragRotate: false,
        pitchWithRotate: false,
      });
    } catch (cause) {
      // eslint-disable-next-line react-hooks/set-state-in-effect -- only creating a map reveals it
      setError(String(cause instanceof Error ? cause.message : cause));
      return;
    }
    created.addControl(new NavigationControl({ showCompass: false }), "top-right");
    const updates = new PointUpdates(async (diff) =>
      created.getSource<GeoJSONSource>("listings")?.updateData(diff),
    );
    created.on("style.load", () => {
      setMap(created); // points are drawn without waiting for the basemap
      setPoints(updates);
    });
    created.on("error", ({ error }) => console.error(`map: ${error.message}`));
    created.on("click", "points", ({ features }) => {
      const id: unknown = features?.[0]?.properties["id"];
      if (typeof id === "string") latestOnSelect.current?.(id);
    });
    created.on("mouseenter", "points", () => (created.getCanvas().style.cursor = "pointer"));
    created.on("mouseleave", "points", () => (created.getCanvas().style.cursor = ""));
    const repaint = () => applyColours(created, readColours());
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", repaint);
    window.addEventListener("themechange", repaint);
    return () => {
      scheme.removeEventListener("change", repaint);
      window.removeEventListener("themechange", repaint);
      updates.stop();
      setMap(null);
      setPoints(null);
      created.remove();
    };
  }, []);

  useEffect(() => points?.show(rows, recent), [points, rows, recent]);

  useEffect(() => {
    if (!map || !ready) return;
    let cancelled = false;
    map
      .getSource<GeoJSONSource>("cities")
      ?.setData(cityLabels(latestRows.current))
      .catch((error: unknown) => {
        if (!cancelled) console.error(`map: ${String(error)}`);
      });
    const cancel = () => void (cancelled = true);
    const coordinates = latestRows.current.map(coordinatesOf).filter((point) => point !== null);
    if (coordinates.length === 0) return cancel;
    const bounds = coordinates.reduce(
      (box, point) => box.extend(point),
      new LngLatBounds(coordinates[0], coordinates[0]),
    );
    map.fitBounds(bounds, {
      padding: 48,
      maxZoom: 6.2,
      animate: positioned.current && !prefersReducedMotion(),
    });
    positioned.current = true;
    return cancel;
  }, [map, ready, viewKey]);

  useEffect(() => {
    if (!map || selected === null) return;
    map.setFeatureState({ source: "listings", id: selected }, { selected: true });
    const point = coordinatesOf(
      latestRows.current.find((row) => String(row.property_id) === selected),
    );
    if (point && !map.getBounds().contains(point))
      map.easeTo({ center: point, animate: !prefersReducedMotion() });
    return () => {
      if (map.getSource("listings"))
        map.removeFeatureState({ source: "listings", id: selected }, "selected");
    };
  }, [map, selected]);

  return (
    <div
      className={styles.map}
      data-testid="map"
      data-count={rows.filter((row) => coordinatesOf(row)).length}
    >
      {error ? (
        <p className={styles.unavailable}>
          The map needs WebGL, which is not available in this browser. The list shows all listings.
        </p>
      ) : (
        <div ref={container} className={styles.container} />
      )}
    </div>
  );
}

function prefersReducedMotion(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Return a function that reads the current theme's colour by name. */
function readColours(): (name: string) => string {
  const root = getComputedStyle(document.documentElement);
  return (name) => root.getPropertyValue(`--${name}`).trim();
}
