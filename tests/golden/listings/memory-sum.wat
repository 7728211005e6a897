;; region at 0x400000, CPL 3: 4 instructions in 1 blocks, 717 bytes of WebAssembly
;; …
;; 0x400000: add rax, qword ptr ds:[rsi]
          (local.set $63 (local.get $rsi))
          (local.set $65 (i32.wrap_i64 (local.get $63)))
          (local.set $66
            (i32.add (local.get $tlb) (i32.and (i32.shr_u (local.get $65) (i32.const 8)) (i32.const 16368))))
          (i64.lt_u (i64.xor (local.get $63) (i64.load (local.get $66))) (i64.const 4089))
          if ;; likely
            (local.set $67 (i32.add (local.get $65) (i32.load offset=8 (local.get $66))))
            (local.set $64 (i64.load (local.get $67)))
          else
            (local.set $68
              (call $read
                (local.get $cpu)
                (local.get $63)
                (i32.const 8)
                (i32.or (i32.const 2) (i32.const 0))))
            (local.set $at (i32.const 117518336))
            (local.set $target (local.get $page))
            (br_if $2 (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu))) ;; unlikely
            (local.set $64 (local.get $68))
          end
          (local.set $69 (local.get $rax))
          (local.set $70 (i64.add (local.get $69) (local.get $64)))
          (local.set $rax (local.get $70))
          (local.set $71 (local.get $69))
          (local.set $72 (local.get $64))
          (local.set $73 (local.get $70))
          (local.set $CcResult (local.get $73))
          (local.set $CcA (local.get $73))
          (local.set $CcB (local.get $71))
          (local.set $CcOverflow (local.get $72))
;; 0x400003: add rsi, 0x8
          (local.set $73 (local.get $rsi))
          (local.set $72 (i64.const 8))
          (local.set $71 (i64.add (local.get $73) (local.get $72)))
          (local.set $rsi (local.get $71))
          (local.set $70 (local.get $73))
          (local.set $69 (local.get $72))
          (local.set $68 (local.get $71))
          (local.set $CcResult (local.get $68))
          (local.set $CcA (local.get $68))
          (local.set $CcB (local.get $70))
          (local.set $CcOverflow (local.get $69))
;; 0x40000a: dec rcx
          (local.set $68 (local.get $rcx))
          (local.set $69 (i64.add (local.get $68) (i64.const -1)))
          (local.set $rcx (local.get $69))
          (local.set $CcOverflow (local.get $68))
          (local.set $CcResult (local.get $69))
;; 0x40000d: jne 0x400000
          (i32.eqz (i64.eqz (local.get $CcResult)))
          if
            (local.set $left (i32.sub (local.get $left) (i32.const 4)))
            (local.set $operation (i32.const 5))
            (i32.lt_s (local.get $left) (i32.const 0))
            if ;; unlikely
              (local.set $target (i64.add (local.get $page) (i64.const 0)))
              (br $3)
            end
            (br $4)
          end
          (local.set $left (i32.sub (local.get $left) (i32.const 4)))
          (local.set $operation (i32.const 5))
          (local.set $target (i64.add (local.get $page) (i64.const 19)))
          (br $3)
        end
      end
;; …
