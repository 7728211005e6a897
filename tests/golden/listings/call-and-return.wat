;; region at 0x400000, CPL 3: 4 instructions in 3 blocks, 950 bytes of WebAssembly
;; entered at 0x400005 as well
;; …
;; 0x400005: call 0x40000b
              (local.set $63 (i64.add (local.get $page) (i64.const 10)))
              (local.set $64 (i64.sub (local.get $rsp) (i64.const 8)))
              (local.set $65 (local.get $64))
              (local.set $66 (local.get $63))
              (local.set $67 (i32.wrap_i64 (local.get $65)))
              (local.set $68
                (i32.add
                  (local.get $tlb)
                  (i32.and (i32.shr_u (local.get $67) (i32.const 8)) (i32.const 16368))))
              (i64.lt_u (i64.xor (local.get $65) (i64.load offset=16384 (local.get $68))) (i64.const 4089))
              if ;; likely
                (local.set $69 (i32.add (local.get $67) (i32.load offset=16392 (local.get $68))))
                (i64.store (local.get $69) (local.get $66))
              else
                (call $write
                  (local.get $cpu)
                  (local.get $65)
                  (i32.const 8)
                  (i32.or (i32.const 2) (i32.const 17))
                  (local.get $66))
                (local.set $at (i32.const 117526533))
                (local.set $target (local.get $page))
                (br_if $2 (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu))) ;; unlikely
              end
              (local.set $rsp (local.get $64))
              (local.set $left (i32.sub (local.get $left) (i32.const 1)))
              (br $5)
            end
;; 0x400000: call 0x40000b
            (local.set $66 (i64.add (local.get $page) (i64.const 5)))
            (local.set $65 (i64.sub (local.get $rsp) (i64.const 8)))
            (local.set $64 (local.get $65))
            (local.set $63 (local.get $66))
            (local.set $69 (i32.wrap_i64 (local.get $64)))
            (local.set $68
              (i32.add
                (local.get $tlb)
                (i32.and (i32.shr_u (local.get $69) (i32.const 8)) (i32.const 16368))))
            (i64.lt_u (i64.xor (local.get $64) (i64.load offset=16384 (local.get $68))) (i64.const 4089))
            if ;; likely
              (local.set $67 (i32.add (local.get $69) (i32.load offset=16392 (local.get $68))))
              (i64.store (local.get $67) (local.get $63))
            else
              (call $write
                (local.get $cpu)
                (local.get $64)
                (i32.const 8)
                (i32.or (i32.const 2) (i32.const 17))
                (local.get $63))
              (local.set $at (i32.const 117526528))
              (local.set $target (local.get $page))
              (br_if $2 (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu))) ;; unlikely
            end
            (local.set $rsp (local.get $65))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br $5)
          end
;; 0x40000b: add rax, rax
          (local.set $63 (local.get $rax))
          (local.set $64 (local.get $rax))
          (local.set $65 (i64.add (local.get $63) (local.get $64)))
          (local.set $rax (local.get $65))
          (local.set $66 (local.get $63))
          (local.set $70 (local.get $64))
          (local.set $71 (local.get $65))
          (local.set $CcResult (local.get $71))
          (local.set $CcA (local.get $71))
          (local.set $CcB (local.get $66))
          (local.set $CcOverflow (local.get $70))
;; 0x40000e: ret
          (local.set $71 (i64.add (local.get $rsp) (i64.const 0)))
          (local.set $70 (local.get $71))
          (local.set $67 (i32.wrap_i64 (local.get $70)))
          (local.set $68
            (i32.add (local.get $tlb) (i32.and (i32.shr_u (local.get $67) (i32.const 8)) (i32.const 16368))))
          (i64.lt_u (i64.xor (local.get $70) (i64.load (local.get $68))) (i64.const 4089))
          if ;; likely
            (local.set $69 (i32.add (local.get $67) (i32.load offset=8 (local.get $68))))
            (local.set $66 (i64.load (local.get $69)))
          else
            (local.set $65
              (call $read
                (local.get $cpu)
                (local.get $70)
                (i32.const 8)
                (i32.or (i32.const 2) (i32.const 16))))
            (local.set $at (i32.const 50466830))
            (local.set $target (local.get $page))
            (br_if $2 (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu))) ;; unlikely
            (local.set $66 (local.get $65))
          end
          (local.set $64 (local.get $66))
          (i64.ne (i64.shr_s (i64.shl (local.get $64) (i64.const 16)) (i64.const 16)) (local.get $64))
          if ;; unlikely
            (call $raise (local.get $cpu) (i32.const 13) (i32.const 0))
            (local.set $status (i32.const 2))
            (local.set $at (i32.const 50466830))
            (local.set $target (local.get $page))
            (br $2)
          end
          (local.set $rsp (i64.add (local.get $rsp) (i64.const 8)))
          (local.set $target (local.get $64))
          (local.set $left (i32.sub (local.get $left) (i32.const 2)))
          (local.set $operation (i32.const 3))
          (i32.ge_s (local.get $left) (i32.const 0))
          if
            (local.set $63 (i64.sub (local.get $target) (local.get $page)))
            (i64.eq (local.get $63) (i64.const 5))
            if
              (local.set $next (i32.const 1))
              (br $4)
            end
          end
          (br $3)
        end
      end
;; …
