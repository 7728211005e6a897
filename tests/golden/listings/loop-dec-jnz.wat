;; region at 0x400000, CPL 3: 3 instructions in 1 blocks, 578 bytes of WebAssembly
;; …
;; 0x400000: add rax, rbx
          (local.set $63 (local.get $rax))
          (local.set $64 (local.get $rbx))
          (local.set $65 (i64.add (local.get $63) (local.get $64)))
          (local.set $rax (local.get $65))
          (local.set $66 (local.get $63))
          (local.set $67 (local.get $64))
          (local.set $68 (local.get $65))
          (local.set $CcResult (local.get $68))
          (local.set $CcA (local.get $68))
          (local.set $CcB (local.get $66))
          (local.set $CcOverflow (local.get $67))
;; 0x400003: dec ecx
          (local.set $68 (i64.extend_i32_s (i32.wrap_i64 (local.get $rcx))))
          (local.set $67 (i64.extend_i32_s (i32.add (i32.wrap_i64 (local.get $68)) (i32.const -1))))
          (local.set $rcx (i64.extend_i32_u (i32.wrap_i64 (local.get $67))))
          (local.set $CcOverflow (local.get $68))
          (local.set $CcResult (local.get $67))
;; 0x400005: jne 0x400000
          (i32.eqz (i64.eqz (local.get $CcResult)))
          if
            (local.set $left (i32.sub (local.get $left) (i32.const 3)))
            (local.set $operation (i32.const 5))
            (i32.lt_s (local.get $left) (i32.const 0))
            if ;; unlikely
              (local.set $target (i64.add (local.get $page) (i64.const 0)))
              (br $3)
            end
            (br $4)
          end
          (local.set $left (i32.sub (local.get $left) (i32.const 3)))
          (local.set $operation (i32.const 5))
          (local.set $target (i64.add (local.get $page) (i64.const 11)))
          (br $3)
        end
      end
;; …
