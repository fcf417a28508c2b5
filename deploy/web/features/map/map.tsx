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
import type { FreshById } from "@/features/highlights/highlights";
import { Points, where } from "./points";
import { cities, paint, style } from "./style";
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
  const [points, setPoints] = useState<Points | null>(null);
  const latest = useRef(rows);
  const select = useRef(onSelect);
  const went = useRef(false);
  useEffect(() => {
    select.current = onSelect;
    latest.current = rows;
  }, [onSelect, rows]);

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
        fadeDuration: 0, // else every update of a point is a third of a second of frames
        dragRotate: false,
        pitchWithRotate: false,
      });
    } catch (error) {
      // eslint-disable-next-line react-hooks/set-state-in-effect -- known only once it was tried
      setTrouble(String(error instanceof Error ? error.message : error));
      return;
    }
    made.addControl(new NavigationControl({ showCompass: false }), "top-right");
    const painted = new Points(async (diff) =>
      made.getSource<GeoJSONSource>("listings")?.updateData(diff),
    );
    made.on("style.load", () => {
      setMap(made); // the points need not wait for the land
      setPoints(painted);
    });
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
    return () => {
      scheme.removeEventListener("change", repaint);
      window.removeEventListener("theme", repaint);
      painted.stop();
      setMap(null);
      setPoints(null);
      made.remove();
    };
  }, []);

  useEffect(() => points?.show(rows, fresh), [points, rows, fresh]);

  useEffect(() => {
    if (!map || !ready) return;
    let over = false;
    map
      .getSource<GeoJSONSource>("cities")
      ?.setData(cities(latest.current))
      .catch((error: unknown) => {
        if (!over) console.error(`map: ${String(error)}`);
      });
    const end = () => void (over = true);
    const places = latest.current.map(where).filter((point) => point !== null);
    if (places.length === 0) return end;
    const bounds = places.reduce(
      (box, point) => box.extend(point),
      new LngLatBounds(places[0], places[0]),
    );
    map.fitBounds(bounds, { padding: 48, maxZoom: 6.2, animate: went.current && !still() });
    went.current = true;
    return end;
  }, [map, ready, place]);

  useEffect(() => {
    if (!map || selected === null) return;
    map.setFeatureState({ source: "listings", id: selected }, { selected: true });
    const point = where(latest.current.find((row) => String(row.property_id) === selected));
    if (point && !map.getBounds().contains(point)) map.easeTo({ center: point, animate: !still() });
    return () => {
      if (map.getSource("listings"))
        map.removeFeatureState({ source: "listings", id: selected }, "selected");
    };
  }, [map, selected]);

  return (
    <div
      className={styles.map}
      data-testid="map"
      data-count={rows.filter((row) => where(row)).length}
    >
      {trouble ? (
        <p className={styles.trouble}>
          The map needs WebGL, which this browser does not give. The list has everything.
        </p>
      ) : (
        <div ref={host} className={styles.host} />
      )}
    </div>
  );
}

function still(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** The theme's colours as the page has them now. */
function colours(): (name: string) => string {
  const root = getComputedStyle(document.documentElement);
  return (name) => root.getPropertyValue(`--${name}`).trim();
}
